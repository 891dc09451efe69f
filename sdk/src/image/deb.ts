// What is in a Debian package.

import { mkdirSync } from 'node:fs';
import { run } from './tool.ts';

/** Unpacks the files of a package into a folder, which is made when it is not there. No script of it is run. */
export async function extractDeb(deb: string, folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  await run('dpkg-deb', ['-x', deb, folder], { what: 'unpacking Debian packages', hint: hint(deb) });
}

/** Its control file, deb-control(5), as it stands there: fields, and no empty line. */
export async function controlOf(deb: string): Promise<string> {
  const options = { what: 'reading Debian packages', hint: hint(deb), limit: 1024 * 1024 };
  return (await run('dpkg-deb', ['-f', deb], options)).toString().trimEnd();
}

/** Unpacks what dpkg keeps of a package beside its files: scripts, triggers, lists of configuration files. */
export async function extractControl(deb: string, folder: string): Promise<void> {
  await run('dpkg-deb', ['-e', deb, folder], { what: 'unpacking Debian packages', hint: hint(deb) });
}

/** Paths of its files, absolute, folders without a slash at the end; `/.` for the root, as dpkg has it. */
export async function filesOf(deb: string): Promise<string[]> {
  const what = 'reading Debian packages';
  const tar = await run('dpkg-deb', ['--fsys-tarfile', deb], { what, hint: hint(deb), limit: 2 ** 31 });
  const names = await run('tar', ['-t', '--quoting-style=literal'], { what, input: tar });
  return names
    .toString()
    .split('\n')
    .filter(Boolean)
    .map((name) => (name === './' ? '/.' : name.replace(/^\./, '').replace(/\/$/, '')));
}

const hint = (deb: string): string => `Remove it, so that it is downloaded anew: ${deb}`;
