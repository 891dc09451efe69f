// Files of vmc: paths, and on a removable medium those below it, by its name.

import { statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { errors } from '../errors.ts';

/** Where ChromeOS, udisks2, and udisks2 as Debian had it mount what is plugged in. */
const { username } = userInfo();
const PLACES: readonly string[] = ['/media/removable', `/run/media/${username}`, `/media/${username}`];

/**
 * @param file relative to `cwd`, or to the medium
 * @throws CROSTINI_ERR_USAGE
 */
export function pathOf(cwd: string, file: string, medium?: string, places: readonly string[] = PLACES): string {
  if (medium === undefined) return resolve(cwd, file);
  const refuse = (why: string): Error => errors.CROSTINI_ERR_USAGE({ details: { option: 'removable', why } });
  if (medium === '' || medium === '.' || medium === '..' || medium.includes('/'))
    throw refuse(`${JSON.stringify(medium)} is no name of a medium`);
  if (file.startsWith('/') || file.split('/').includes('..'))
    throw refuse(`${JSON.stringify(file)} has to lie below the medium`);
  const folder = places.map((place) => join(place, medium)).find(isFolder);
  if (folder === undefined) throw refuse(`there is no medium ${JSON.stringify(medium)} in ${places.join(', ')}`);
  return join(folder, file);
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
