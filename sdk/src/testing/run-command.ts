// Runs a plugin's command without a terminal.

import type { CommandIo, CommandTerminal, Runtime } from '@runtime/core';

export interface RunCommandOptions {
  readonly args?: readonly string[];
  readonly options?: Readonly<Record<string, unknown>>;
  /** What the command reads from its standard input. */
  readonly input?: string;
  readonly signal?: AbortSignal;
  /** The folder that it is called in. Default: that of this process. */
  readonly cwd?: string;
  /** Default: none, 80 × 24. */
  readonly terminal?: Partial<CommandTerminal>;
}

export interface CommandResult {
  readonly code: number;
  /** Lines for people, without their line feeds. */
  readonly out: readonly string[];
  readonly err: readonly string[];
  /** What it gave to io.data(), which the `runtime` command prints as table, JSON or YAML. */
  readonly data: readonly unknown[];
  /** What it gave to io.write(). */
  readonly bytes: Uint8Array;
  /** What it gave to io.writeErr(). */
  readonly errBytes: Uint8Array;
  /** Stages given to io.progress(). */
  readonly progress: readonly string[];
}

/**
 * Options are given as the handler gets them: defaults of the command's options are filled in, nothing is parsed.
 * @throws what the handler throws, CORE_ERR_COMMAND_UNKNOWN
 */
export async function runCommand(
  runtime: Pick<Runtime, 'commands'>,
  name: string,
  given: RunCommandOptions = {},
): Promise<CommandResult> {
  const { args = [], options = {}, input = '', terminal = {}, cwd = process.cwd() } = given;
  const { signal = new AbortController().signal } = given;
  const [out, err, data, progress]: [string[], string[], unknown[], string[]] = [[], [], [], []];
  const [chunks, errChunks]: [Uint8Array[], Uint8Array[]] = [[], []];
  const io: CommandIo = {
    terminal: { isTTY: false, columns: 80, rows: 24, ...terminal },
    cwd,
    out: async (line) => void out.push(line),
    err: async (line) => void err.push(line),
    write: async (bytes) => void chunks.push(bytes.slice()),
    data: async (value) => void data.push(value),
    progress: async (stage) => void progress.push(stage),
    writeErr: async (bytes) => void errChunks.push(bytes.slice()),
    raw: async () => {},
    resizes: noSizes(),
    input: toChunks(input),
  };
  const spec = runtime.commands.list().find((command) => command.name === name);
  const defaults = Object.entries(spec?.options ?? {}).map(([key, option]) => {
    return [key, option.default ?? (option.multiple === true ? [] : option.type === 'boolean' ? false : undefined)];
  });
  const values = { ...Object.fromEntries(defaults), ...options };
  const code = await runtime.commands.run(name, { args, options: values, io, signal });
  return { code, out, err, data, progress, bytes: Buffer.concat(chunks), errBytes: Buffer.concat(errChunks) };
}

async function* noSizes(): AsyncGenerator<never> {}

async function* toChunks(text: string): AsyncIterable<Uint8Array> {
  if (text !== '') yield Buffer.from(text);
}
