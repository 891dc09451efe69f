// Programs of as few files as can be, for processes that have to be there at once: modules, and what they import, compiled
// into CommonJS. To load a hundred modules takes longer than all that many a program does.

import { createRequire } from 'node:module';
import { basename, extname, isAbsolute } from 'node:path';
import type { Plugin } from 'vite';

export interface ProgramSource {
  /** Path of a module, or an id that `plugin` resolves. */
  readonly input: string;
  readonly plugin: Plugin;
  /** Of its files, when it may have several; default: it is one. */
  readonly names?: { readonly entry: string; readonly chunk: string };
}

export interface ProgramFile {
  readonly name: string;
  /** Nothing but ASCII: V8 keeps a text of Latin-1 in half the memory, and one that is ASCII is that in UTF-8, too. */
  readonly code: string;
  /** Paths of the modules in it. */
  readonly sources: readonly string[];
}

/** Node's own, and the sources of our packages where they are what runs. */
const CONDITIONS = ['node', 'module-sync', ...(extname(import.meta.filename) === '.ts' ? ['@runtime/source'] : [])];

/**
 * Takes 100 MB, and is best done in a process of its own. Names stay, for those who read a stack.
 * @throws Error with what the compiler said, or when vite is not installed
 */
export async function compileProgram({ input, plugin, names }: ProgramSource): Promise<readonly ProgramFile[]> {
  const { build } = await import('vite');
  const built = await build({
    configFile: false,
    envDir: false,
    publicDir: false,
    logLevel: 'silent',
    root: import.meta.dirname,
    ssr: { noExternal: true, target: 'node', resolve: { conditions: CONDITIONS } },
    build: {
      ssr: true,
      write: false,
      target: 'esnext',
      minify: false,
      rolldownOptions: {
        input,
        output: {
          format: 'cjs',
          ...(names === undefined
            ? { codeSplitting: false }
            : { entryFileNames: names.entry, chunkFileNames: names.chunk }),
          minify: { mangle: false, compress: true, codegen: { removeWhitespace: true } },
        },
      },
    },
    plugins: [plugin],
  });
  const chunks = [built].flat().flatMap((one) => ('output' in one ? one.output : []));
  return chunks.flatMap((chunk) => {
    if (chunk.type !== 'chunk') return [];
    return [{ name: chunk.fileName, code: ascii(chunk.code), sources: chunk.moduleIds.filter((id) => isAbsolute(id)) }];
  });
}

function ascii(code: string): string {
  return code.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Path of koffi's native half, which is all of it that our programs use; koffi spends 5 ms on finding it. */
export function nativeKoffi(): string | undefined {
  const require = createRequire(import.meta.url);
  require('koffi');
  // The compiler has native halves, too.
  return Object.keys(require.cache).find((file) => basename(file) === 'koffi.node');
}
