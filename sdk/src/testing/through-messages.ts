// A service as it is seen from another process: what goes in and out is copied.

/**
 * Calls fail with a TypeError where they would also fail across a process border: for a method that does not return a
 * promise, and for arguments or results that cannot be copied.
 */
export function throughMessages<T extends object>(service: T): T {
  // The proxy of a frozen object would have to answer with its very methods.
  return new Proxy({} as T, {
    has: (_, key) => key in service,
    get(_, key) {
      const method: unknown = Reflect.get(service, key);
      if (typeof method !== 'function') return method;
      return (...args: unknown[]): Promise<unknown> => {
        const answer: unknown = Reflect.apply(method, service, copy(args, `an argument of ${String(key)}()`));
        if (!(answer instanceof Promise)) throw new TypeError(`${String(key)}() did not return a promise`);
        return answer.then((value: unknown) => copy(value, `what ${String(key)}() answered`));
      };
    },
  });
}

function copy<V>(value: V, what: string): V {
  try {
    return structuredClone(value);
  } catch (cause) {
    throw new TypeError(`${what} cannot cross a process border`, { cause });
  }
}
