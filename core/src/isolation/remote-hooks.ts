// The hooks as a plugin in its own process has them.

import { errors } from '../core-errors.ts';
import type { CallResult, HookBus } from '../hooks.ts';
import type { Scope } from '../scope.ts';
import type { HookKind, HookToken } from '../tokens.ts';
import { KeyCounter } from './key-counter.ts';
import type { HookDescription } from './messages.ts';
import type { RemoteLink } from './remote-link.ts';

type AnyFunction = (...args: readonly unknown[]) => unknown;

export class RemoteHooks {
  readonly #link: RemoteLink;
  readonly #scope: Scope;
  readonly #keys: KeyCounter = new KeyCounter();
  readonly #taps: Map<string, AnyFunction> = new Map();

  constructor(link: RemoteLink, scope: Scope) {
    this.#link = link;
    this.#scope = scope;
  }

  readonly bus: HookBus = {
    tap: (hook, fn, options) => {
      const { owner: plugin } = this.#scope;
      // The caller of such a hook waits in the runtime's only thread.
      if (isSync(hook.hookKind)) throw errors.CORE_ERR_HOOK_REMOTE({ plugin, details: { plugin, hook: hook.id } });
      const key = this.#keys.next(hook.id);
      this.#link.callSync('tap', key, describe(hook), options ?? {});
      this.#taps.set(key, fn as AnyFunction);
      return this.#scope.defer(`tap ${hook.id}`, () => {
        this.#taps.delete(key);
        this.#link.callSync('untap', key);
      });
    },
    call: <K extends HookKind, A extends readonly unknown[], R>(hook: HookToken<K, A, R>, ...args: A) => {
      const result = isSync(hook.hookKind)
        ? this.#link.callSync('hook', describe(hook), [...args])
        : this.#link.call('hook', describe(hook), [...args]);
      return result as CallResult<K, A, R>;
    },
  };

  /** A call of the runtime. */
  run(key: string, args: readonly unknown[]): unknown {
    return this.#taps.get(key)?.(...args);
  }
}

function isSync(kind: HookKind): boolean {
  return kind === 'sync' || kind === 'sync-bail';
}

function describe({
  id,
  hookKind,
  args,
  version,
}: Omit<HookToken<HookKind, readonly unknown[], unknown>, 'T'>): HookDescription {
  return { id, hookKind, args: [...args], version };
}
