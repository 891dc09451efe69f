// `commands.run`: the input and output of a command as items of its request.

import type { CommandIo, CommandSpec, CommandTerminal, OptionValues } from '../commands.ts';
import type { Runtime } from '../runtime-types.ts';
import { checkCommandParams } from './command-params.ts';
import type { CommandItem, RunCommandParams } from './method-types.ts';
import type { Call } from './methods.ts';

/** UTF-16 units and bytes of one item: far below the limit of a frame, however they are escaped. */
const CHUNK = 128 * 1024;

const NO_TERMINAL: CommandTerminal = { isTTY: false, columns: 80, rows: 24 };

export async function runCommand(
  runtime: Runtime,
  params: RunCommandParams,
  call: Call<CommandItem>,
): Promise<{ readonly exit: number }> {
  const args = params.args ?? [];
  const spec = runtime.commands.list().find((command) => command.name === params.name);
  // An unknown command is refused by the table itself, which knows the nearest name.
  const options = spec === undefined ? {} : checkCommandParams(spec, args, params.options ?? {});
  const io = commandIo(params, call);
  const exit = await runtime.commands.run(params.name, {
    args,
    options: options as OptionValues<CommandSpec>,
    io,
    signal: call.signal,
  });
  return { exit };
}

function commandIo(params: RunCommandParams, call: Call<CommandItem>): CommandIo {
  const text = async (kind: 'out' | 'err', line: string): Promise<void> => {
    for (const piece of textPieces(`${line}\n`)) await call.item({ kind, text: piece });
  };
  const binary = async (kind: 'bytes' | 'err-bytes', bytes: Uint8Array): Promise<void> => {
    for (let at = 0; at < bytes.length; at += CHUNK) await call.item({ kind, bytes: bytes.subarray(at, at + CHUNK) });
  };
  return {
    terminal: params.terminal ?? NO_TERMINAL,
    resizes: call.resizes,
    cwd: params.cwd,
    input: call.input,
    out: (line) => text('out', line),
    err: (line) => text('err', line),
    write: (bytes) => binary('bytes', bytes),
    writeErr: (bytes) => binary('err-bytes', bytes),
    data: (value) => call.item({ kind: 'data', value }),
    progress: (stage, fraction) =>
      call.item(fraction === undefined ? { kind: 'progress', stage } : { kind: 'progress', stage, fraction }),
    raw: (on) => call.item({ kind: 'raw', on }),
  };
}

/** Never cut inside a surrogate pair, whose halves would be printed as replacement characters. */
function* textPieces(text: string): Generator<string> {
  for (let at = 0; at < text.length; ) {
    let end = Math.min(at + CHUNK, text.length);
    const last = text.charCodeAt(end - 1);
    if (end < text.length && last >= 0xd800 && last <= 0xdbff) end -= 1;
    yield text.slice(at, end);
    at = end;
  }
}
