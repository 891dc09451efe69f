// docs/reference/linux.md: what @runtime/sdk/linux exports, with its doc comments.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { docBefore, linkTo, ROOT } from './source-text.ts';

const FOLDER = join(ROOT, 'sdk/src/linux');
const EXPORTS = /^export \{([^}]*)\} from '\.\/([\w-]+\.ts)';/gm;

interface Entry {
  readonly name: string;
  readonly signature: string;
  readonly doc: string;
}

export function linuxPage(): string {
  const index = readFileSync(join(FOLDER, 'index.ts'), 'utf8');
  const files = [...index.matchAll(EXPORTS)].map(([, names = '', file = '']) => ({
    file,
    names: names
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== ''),
  }));
  return [
    '# System calls',
    '',
    '`@runtime/sdk/linux`: what Linux has and Node has not, over [koffi](https://koffi.dev), which is loaded at the first',
    'call. It needs nothing of the runtime and can be used alone. A call that fails throws a `LinuxError` (SDK_ERR_SYSCALL)',
    'with `syscall`, `errno` and `errnoName`; `isLinuxError(e, "EAGAIN")` tests for one. Calls whose names begin with `raw`',
    'neither throw nor allocate: they return −errno. Descriptors are plain numbers, close-on-exec, and belong to the caller.',
    'Addresses and offsets are numbers below 2⁵³; sizes are bytes, times are milliseconds where nothing else is said.',
    ...files.flatMap(describeFile),
  ].join('\n');
}

function describeFile({
  file,
  names,
}: {
  readonly file: string;
  readonly names: readonly string[];
}): readonly string[] {
  const path = join(FOLDER, file);
  const text = readFileSync(path, 'utf8');
  const entries = names.filter((name) => !name.startsWith('type ')).map((name) => entryOf(name, text, path));
  const types = names.filter((name) => name.startsWith('type ')).map((name) => `\`${name.slice('type '.length)}\``);
  if (entries.length === 0) return [];
  return [
    '',
    `## ${file.replace(/\.ts$/, '')}`,
    '',
    ...headOf(text),
    ...entries.flatMap(({ signature, doc }) => [`- \`${signature}\`${doc === '' ? '' : `<br>${doc}`}`]),
    '',
    `${types.length === 0 ? '' : `Types: ${types.join(', ')}. `}${linkTo(path)}`,
  ];
}

/** The comment that a file begins with. */
function headOf(text: string): readonly string[] {
  const lines = /^(?:\/\/ .*\n)+/.exec(text)?.[0];
  return lines === undefined
    ? []
    : [
        lines
          .replaceAll(/^\/\/ /gm, '')
          .trim()
          .replaceAll('\n', ' '),
        '',
      ];
}

function entryOf(name: string, text: string, path: string): Entry {
  const at = text.search(new RegExp(`^export (?:declare )?(?:function|class|const) ${name}\\b`, 'm'));
  // Re-exported from elsewhere in the folder.
  if (at === -1) {
    const from = new RegExp(`^export \\{[^}]*\\b${name}\\b[^}]*\\} from '\\./([\\w-]+\\.ts)'`, 'm').exec(text)?.[1];
    if (from === undefined) throw new Error(`${path} does not export ${name}`);
    return entryOf(name, readFileSync(join(FOLDER, from), 'utf8'), join(FOLDER, from));
  }
  return {
    name,
    signature: signatureOf(text.slice(at), name),
    doc: (docBefore(text, at) ?? '').replaceAll(/\s*\n\s*/g, ' '),
  };
}

function signatureOf(code: string, name: string): string {
  if (!code.startsWith('export function')) return code.startsWith('export class') ? `class ${name}` : name;
  // The body is the first brace that begins no type.
  const [head = ''] = code.slice('export function '.length).split(/(?<![:,(|&]) \{\n/);
  return head
    .replaceAll(/\/\*\*[\s\S]*?\*\//g, '')
    .replaceAll(/\s+/g, ' ')
    .replaceAll('( ', '(')
    .replaceAll(/,? \)/g, ')');
}
