// A process that is killed between two stores to shared memory: whichever code `run` makes its views of memory with is
// stopped at its n-th store, and from then on at each one.

export class Crashed extends Error {}

const VIEWS = ['Uint8Array', 'Uint16Array', 'Uint32Array', 'Int32Array'] as const;
type View = Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer>;

/** @throws what `run` throws; Crashed at the store after `stores` of them */
export function crashAtStore<T>(stores: number, run: () => T): T {
  let left = stores;
  const store = (): void => {
    left -= 1;
    if (left < 0) throw new Crashed();
  };
  const raw = new WeakMap<object, View>();
  const counted = (view: View): View => {
    const proxy = new Proxy(view, {
      set(target, key, value): boolean {
        store();
        return Reflect.set(target, key, value, target);
      },
      get(target, key): unknown {
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    raw.set(proxy, view);
    return proxy;
  };

  const originals = VIEWS.map((name) => globalThis[name]);
  const atomics = globalThis.Atomics;
  for (const name of VIEWS) {
    const replacement = new Proxy(globalThis[name], {
      construct(target, args: unknown[]): View {
        const view = Reflect.construct(target, args) as View;
        return args[0] instanceof ArrayBuffer ? counted(view) : view;
      },
    });
    Object.assign(globalThis, { [name]: replacement });
  }
  const unwrap = (view: View): View => raw.get(view) ?? view;
  const countingAtomics = {
    load: (view: View, at: number): number => atomics.load(unwrap(view), at),
    store(view: View, at: number, value: number): number {
      if (raw.has(view)) store();
      return atomics.store(unwrap(view), at, value);
    },
  };
  Object.assign(globalThis, { Atomics: countingAtomics });
  try {
    return run();
  } finally {
    VIEWS.forEach((name, i) => {
      Object.assign(globalThis, { [name]: originals[i] });
    });
    Object.assign(globalThis, { Atomics: atomics });
  }
}
