// Commands of a plugin in its own process: the terminal stays here, and the process works it by messages.

import type { CommandHandler, CommandIo, CommandSpec, TerminalSize } from '../commands.ts';
import { errors } from '../core-errors.ts';

interface OpenInvocation {
  readonly io: CommandIo;
  readonly input: AsyncIterator<Uint8Array>;
  readonly resizes: AsyncIterator<TerminalSize>;
}

/** Commands under way. */
export class Invocations {
  readonly #open: Map<number, OpenInvocation> = new Map();
  #last = 0;

  begin(io: CommandIo): number {
    this.#last += 1;
    const [input, resizes] = [io.input[Symbol.asyncIterator](), io.resizes[Symbol.asyncIterator]()];
    this.#open.set(this.#last, { io, input, resizes });
    return this.#last;
  }

  end(id: number): void {
    this.#open.delete(id);
  }

  /** @throws CORE_ERR_CANCELLED when the command is over */
  io(id: number): CommandIo {
    return this.#get(id).io;
  }

  /** `undefined` at the end of input. */
  async nextInput(id: number): Promise<Uint8Array | undefined> {
    const { done, value } = await this.#get(id).input.next();
    return done === true ? undefined : value;
  }

  /** `undefined` when there will be no other. */
  async nextSize(id: number): Promise<TerminalSize | undefined> {
    const { done, value } = await this.#get(id).resizes.next();
    return done === true ? undefined : value;
  }

  #get(id: number): OpenInvocation {
    const invocation = this.#open.get(id);
    if (invocation === undefined) throw errors.CORE_ERR_CANCELLED({ details: { what: 'the command' } });
    return invocation;
  }
}

export function createCommandHandler(
  key: string,
  invocations: Invocations,
  toPlugin: (method: string, args: readonly unknown[], signal?: AbortSignal) => Promise<unknown>,
): CommandHandler<CommandSpec> {
  return async ({ args, options, io, signal }) => {
    const id = invocations.begin(io);
    try {
      const { terminal, cwd } = io;
      const exit = await toPlugin('command', [key, id, { args, options, terminal, cwd }], signal);
      return typeof exit === 'number' ? exit : 0;
    } finally {
      invocations.end(id);
    }
  };
}
