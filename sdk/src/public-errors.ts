// Coded errors for code that must load in a moment, such as that of a device process: the part of the core that makes and
// recognises them, without the rest.

export * from '@runtime/core/errors';
