// Standard output and error of the command.

import { type CommandTerminal, Latest, type TerminalSize } from '@runtime/core';
import type { Environment } from './xdg.ts';

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';
/** Select Graphic Rendition, ECMA-48. */
const SGR: Readonly<Record<Style, readonly [on: number, off: number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
};
export type Paint = (style: Style, text: string) => string;

export const noPaint: Paint = (_style, text) => text;
export const ansiPaint: Paint = (style, text) => `\x1b[${SGR[style][0]}m${text}\x1b[${SGR[style][1]}m`;

export interface Terminal {
  /** Resolves when the reader has taken it. Output after the reader went away is dropped. */
  out(text: string | Uint8Array): Promise<void>;
  err(text: string | Uint8Array): Promise<void>;
  readonly size: CommandTerminal;
  /** Its size as it changes, until this is disposed of. */
  followSize(): Disposable & { readonly sizes: AsyncIterable<TerminalSize> };
  /** For standard output and for standard error. */
  readonly paint: Paint;
  readonly paintErr: Paint;
  readonly errIsTTY: boolean;
}

/** @param onHangUp called once when nobody reads the standard output any more */
export function processTerminal(env: Environment, onHangUp: () => void): Terminal {
  const { stdout, stderr } = process;
  let hungUp = false;
  for (const stream of [stdout, stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error;
      if (stream === stdout && !hungUp) onHangUp();
      hungUp = true;
    });
  }
  return {
    out: (text) => write(stdout, text),
    err: (text) => write(stderr, text),
    get size() {
      const { TERM: type } = env;
      return {
        ...{ isTTY: stdout.isTTY === true, inputIsTTY: process.stdin.isTTY === true, ...sizeOf(stdout) },
        ...(type === undefined || !/^[\w.+-]{1,64}$/.test(type) ? {} : { type }),
      };
    },
    followSize() {
      const sizes = new Latest<TerminalSize>();
      const onResize = (): void => sizes.set(sizeOf(stdout));
      stdout.on('resize', onResize);
      return {
        sizes,
        [Symbol.dispose]() {
          stdout.off('resize', onResize);
          sizes.end();
        },
      };
    },
    paint: wantsColor(env, stdout) ? ansiPaint : noPaint,
    paintErr: wantsColor(env, stderr) ? ansiPaint : noPaint,
    errIsTTY: stderr.isTTY === true,
  };
}

function sizeOf({ columns, rows }: NodeJS.WriteStream): TerminalSize {
  return { columns: columns || 80, rows: rows || 24 };
}

function write(stream: NodeJS.WriteStream, text: string | Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed) resolve();
    else stream.write(text, () => resolve());
  });
}

/** https://no-color.org, https://force-color.org */
function wantsColor(env: Environment, stream: NodeJS.WriteStream): boolean {
  if (env.FORCE_COLOR) return env.FORCE_COLOR !== '0';
  return !env.NO_COLOR && stream.isTTY === true && env.TERM !== 'dumb';
}

// Everything a plugin says may reach the terminal: it must not be able to move the cursor or set a title.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for.
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** The text with control characters made visible; line feeds and tabs stay. */
export function printable(text: string): string {
  return text.replace(CONTROL, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
