// What a plugin author imports: the core, as it is.

export * from '@runtime/core';
