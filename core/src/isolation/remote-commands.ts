// Commands and checks as a plugin in its own process has them.

import type { Check, CheckRegistry } from '../checks.ts';
import type { CommandHandler, CommandIo, CommandRegistry, CommandSpec, Invocation, TerminalSize } from '../commands.ts';
import type { Scope } from '../scope.ts';
import type { RemoteLink } from './remote-link.ts';

/** An invocation as the runtime describes it. */
export interface RemoteInvocation {
  readonly args: readonly string[];
  readonly options: Invocation['options'];
  readonly terminal: CommandIo['terminal'];
  readonly cwd: string;
}

export class RemoteCommands {
  readonly #link: RemoteLink;
  readonly #scope: Scope;
  readonly #handlers: Map<string, CommandHandler<CommandSpec>> = new Map();
  readonly #checks: Map<string, Check> = new Map();

  constructor(link: RemoteLink, scope: Scope) {
    this.#link = link;
    this.#scope = scope;
  }

  readonly commands: CommandRegistry = {
    add: (spec, handler) => {
      const key = `command ${spec.name}`;
      this.#link.callSync('command', key, spec);
      this.#handlers.set(key, handler as unknown as CommandHandler<CommandSpec>);
      return this.#owned(key, this.#handlers);
    },
  };

  readonly checks: CheckRegistry = {
    add: (name, check) => {
      const key = `check ${name}`;
      this.#link.callSync('check', key, name);
      this.#checks.set(key, check);
      return this.#owned(key, this.#checks);
    },
  };

  async run(key: string, id: number, invocation: RemoteInvocation, signal: AbortSignal): Promise<number> {
    const { args, options, terminal, cwd } = invocation;
    const io = this.#io(id, terminal, cwd);
    return (await this.#handlers.get(key)?.({ args, options, io, signal })) ?? 0;
  }

  check(key: string): unknown {
    return this.#checks.get(key)?.();
  }

  #owned(key: string, table: Map<string, unknown>): Disposable {
    return this.#scope.defer(key, () => {
      table.delete(key);
      this.#link.callSync('remove', key);
    });
  }

  #io(id: number, terminal: CommandIo['terminal'], cwd: string): CommandIo {
    const link = this.#link;
    return {
      terminal,
      cwd,
      out: async (line) => void (await link.call('io.out', id, line)),
      err: async (line) => void (await link.call('io.err', id, line)),
      write: async (bytes) => void (await link.call('io.write', id, bytes)),
      writeErr: async (bytes) => void (await link.call('io.write-err', id, bytes)),
      data: async (value) => void (await link.call('io.data', id, value)),
      progress: async (stage, fraction) => void (await link.call('io.progress', id, stage, fraction)),
      raw: async (on) => void (await link.call('io.raw', id, on)),
      input: asked(() => link.call('io.input', id)) as AsyncIterable<Uint8Array>,
      resizes: asked(() => link.call('io.resize', id)) as AsyncIterable<TerminalSize>,
    };
  }
}

/** One after the other, until there is none. */
async function* asked(next: () => Promise<unknown>): AsyncGenerator<unknown, void> {
  for (;;) {
    const value = await next();
    if (value === undefined) return;
    yield value;
  }
}
