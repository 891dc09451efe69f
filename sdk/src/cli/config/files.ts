// The configuration files: the user's, and the project's.

import { readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { errors } from '../../errors.ts';
import { configFolder, type Environment } from '../xdg.ts';
import { checkLayer, type Layer } from './layer.ts';

export const PROJECT_FILE = 'runtime.config.yaml';
/** Bytes; a larger file is refused unread. */
const MAX_FILE = 1024 * 1024;
const MAX_UP = 32;

export function userConfigFile(env: Environment): string {
  return join(configFolder(env), 'config.yaml');
}

/** The nearest at or above `cwd`. */
export function projectConfigFile(cwd: string): string | undefined {
  let folder = resolve(cwd);
  for (let up = 0; up < MAX_UP; up++) {
    const file = join(folder, PROJECT_FILE);
    if (statSync(file, { throwIfNoEntry: false })?.isFile()) return file;
    const parent = dirname(folder);
    if (parent === folder) break;
    folder = parent;
  }
  return undefined;
}

/** @throws SDK_ERR_CONFIG, SDK_ERR_CONFIG_MANY, SDK_ERR_CONFIG_READ, SDK_ERR_CONFIG_UNSAFE */
export async function readLayer(file: string): Promise<Layer> {
  const text = readChecked(file);
  // yaml takes a tenth of the start; most runs have no file.
  const { parseConfigDocument } = await import('./document.ts');
  const { value, locate } = parseConfigDocument(text, file);
  const layer = checkLayer({
    value,
    where: (path, atKey) => `${file}:${locate(path, atKey)}`,
    origin: (path) => `${file}:${locate(path, true).split(':')[0]}`,
  });
  return { ...layer, value: absolutePlugins(layer.value, dirname(file)) };
}

/** Like the user's own word, these files name code to run: one that somebody else may write is not used. */
function readChecked(file: string): string {
  try {
    const { size, uid, mode } = statSync(file);
    const user = process.getuid?.() ?? 0;
    const why =
      uid !== user && uid !== 0 && user !== 0
        ? `it belongs to user ${uid}`
        : (mode & 0o002) !== 0
          ? 'everybody may write it'
          : undefined;
    if (why !== undefined) throw errors.SDK_ERR_CONFIG_UNSAFE({ details: { file, why, user } });
    if (size > MAX_FILE) {
      const details = { file, verb: 'read', why: `it has ${size} bytes`, hint: `At most ${MAX_FILE} bytes are read.` };
      throw errors.SDK_ERR_CONFIG_READ({ details });
    }
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === undefined || code.startsWith('SDK_ERR_')) throw cause;
    const details = { file, verb: 'read', why: code, hint: 'Check that the file exists and that you may read it.' };
    throw errors.SDK_ERR_CONFIG_READ({ cause, details });
  }
}

/** A path in a file is meant from where the file is. */
function absolutePlugins(value: Layer['value'], folder: string): Layer['value'] {
  const { plugins } = value;
  if (plugins === undefined) return value;
  return { ...value, plugins: plugins.map((spec) => (spec.startsWith('.') ? resolve(folder, spec) : spec)) };
}
