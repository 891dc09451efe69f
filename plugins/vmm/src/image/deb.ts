// What is in a Debian package.

import { mkdirSync } from 'node:fs';
import { run } from './tool.ts';

/** Unpacks the files of a package into a folder, which is made when it is not there. No script of it is run. */
export async function extractDeb(deb: string, folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  await run('dpkg-deb', ['-x', deb, folder], {
    what: 'unpacking Debian packages',
    hint: `Remove it, so that it is downloaded anew: ${deb}`,
  });
}
