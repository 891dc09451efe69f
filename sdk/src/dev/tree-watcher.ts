// Watches folders for changes of the files in them. The folders and not the files: editors replace files, and new ones
// must be seen.

import { type FSWatcher, readdirSync, watch } from 'node:fs';
import { join } from 'node:path';

/** Watches are a limited thing of the kernel, see fs.inotify.max_user_watches in inotify(7). */
const MAX_FOLDERS = 5_000;

/** Other packages, version control, and what tools keep for themselves. */
function isSkipped(name: string): boolean {
  return name === 'node_modules' || name.startsWith('.');
}

export class TreeWatcher implements Disposable {
  readonly #onTouched: (file: string) => void;
  readonly #watchers: Map<string, { readonly watcher: FSWatcher; readonly deep: boolean }> = new Map();

  /** @param onTouched a file may have changed, appeared or gone; called once or more for each change */
  constructor(onTouched: (file: string) => void) {
    this.#onTouched = onTouched;
  }

  /** The folder and all below. */
  addTree(folder: string): void {
    this.#add(folder, true);
  }

  /** The folder alone. */
  addFolder(folder: string): void {
    this.#add(folder, false);
  }

  [Symbol.dispose](): void {
    for (const { watcher } of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  /** Files that were there before the watch began count as touched: nobody else saw them appear. */
  #add(folder: string, deep: boolean): void {
    const known = this.#watchers.get(folder);
    if (known !== undefined && (known.deep || !deep)) return;
    if (known === undefined && this.#watchers.size >= MAX_FOLDERS) return;
    known?.watcher.close();
    try {
      const watcher = watch(folder, { persistent: false }, (_, name) => this.#onEvent(folder, deep, name));
      // Gone, or out of watches; what appears in its place is reported by the folder above.
      watcher.on('error', () => this.#drop(folder));
      this.#watchers.set(folder, { watcher, deep });
    } catch {
      this.#watchers.delete(folder);
      return;
    }
    for (const entry of entriesOf(folder)) {
      if (isSkipped(entry.name)) continue;
      if (!entry.isDirectory()) this.#onTouched(join(folder, entry.name));
      else if (deep) this.#add(join(folder, entry.name), true);
    }
  }

  #onEvent(folder: string, deep: boolean, name: string | null): void {
    if (name === null || isSkipped(name)) return;
    const path = join(folder, name);
    // A folder of that name was replaced: the watch is on the one that is gone.
    if (this.#watchers.has(path)) this.#drop(path);
    if (deep && entriesOf(folder).some((entry) => entry.name === name && entry.isDirectory())) this.#add(path, true);
    else this.#onTouched(path);
  }

  #drop(folder: string): void {
    this.#watchers.get(folder)?.watcher.close();
    this.#watchers.delete(folder);
  }
}

function entriesOf(folder: string): import('node:fs').Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    return [];
  }
}
