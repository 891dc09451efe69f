// Changes the list of plugins in the user's configuration and leaves everything else, comments too, as it was.

import {
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { isScalar, isSeq, parseDocument } from 'yaml';
import { errors } from '../../errors.ts';
import { readLayer } from './files.ts';

/** Returns false when it was there already. @throws SDK_ERR_CONFIG, SDK_ERR_CONFIG_READ */
export function addPlugin(file: string, spec: string): Promise<boolean> {
  return edit(file, (specs) => (specs.includes(spec) ? undefined : { add: spec }));
}

/** Removes those that `matches` says. Returns false when there was none. @throws SDK_ERR_CONFIG, SDK_ERR_CONFIG_READ */
export function removePlugins(file: string, matches: (spec: string) => boolean): Promise<boolean> {
  return edit(file, (specs) => (specs.some(matches) ? { remove: matches } : undefined));
}

type Change = { readonly add: string } | { readonly remove: (spec: string) => boolean };

async function edit(file: string, decide: (specs: readonly string[]) => Change | undefined): Promise<boolean> {
  // Refuses to touch what could not be used afterwards.
  const specs = existsSync(file) ? ((await readLayer(file)).value.plugins ?? []) : [];
  const change = decide(specs);
  if (change === undefined) return false;
  const document = parseDocument(existsSync(file) ? readFileSync(file, 'utf8') : '');
  const list = document.get('plugins');
  if ('add' in change) {
    if (isSeq(list)) list.add(document.createNode(change.add));
    else document.set('plugins', document.createNode([change.add]));
  } else if (isSeq(list)) {
    // Paths stand relative in the file, and are compared as readLayer() gives them.
    list.items = list.items.filter((item, i) => !(isScalar(item) && change.remove(specs[i] ?? String(item.value))));
  }
  replaceFile(file, document.toString({ lineWidth: 0 }));
  return true;
}

function replaceFile(file: string, text: string): void {
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    const target = existsSync(file) ? realpathSync(file) : file;
    const mode = existsSync(target) ? statSync(target).mode & 0o777 : 0o600;
    const temporary = join(dirname(target), `.${process.pid}.config.tmp`);
    try {
      writeFileSync(temporary, text, { mode, flush: true });
      renameSync(temporary, target);
    } catch (e) {
      rmSync(temporary, { force: true });
      throw e;
    }
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
    const details = { file, verb: 'written', why, hint: 'Check its owner and mode, and the space left.' };
    throw errors.SDK_ERR_CONFIG_READ({ cause, details });
  }
}
