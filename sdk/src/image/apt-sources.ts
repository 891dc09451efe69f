// Which Debian mirrors this machine uses: from its own apt sources, in both formats of sources.list(5).

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { errors } from '../errors.ts';

export interface AptSource {
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  readonly components: readonly string[];
  /** A path, a fingerprint, or a key; as it stands there. */
  readonly signedBy: string | undefined;
}

/** Where packages come from. URIs are apt's: `http:`, `https:`, `mirror+file:`, `file:` and so on. */
export interface Mirrors {
  /** In the order in which they are tried. */
  readonly archive: readonly string[];
  readonly security: readonly string[];
}

/** The format of `*.sources` files, deb822(5). What cannot be understood is left out, as apt leaves it out with a warning. */
export function parseDeb822(text: string): AptSource[] {
  const out: AptSource[] = [];
  let fields = new Map<string, string>();
  let last: string | undefined;
  const finish = (): void => {
    const source = fromFields(fields);
    if (source !== undefined) out.push(source);
    fields = new Map();
    last = undefined;
  };
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith('#')) continue;
    if (line.trim() === '') finish();
    else if (/^[ \t]/.test(line)) {
      if (last !== undefined) fields.set(last, `${fields.get(last) ?? ''}\n${line.trim()}`);
    } else {
      const colon = line.indexOf(':');
      if (colon <= 0) continue;
      last = line.slice(0, colon).trim().toLowerCase();
      fields.set(last, line.slice(colon + 1).trim());
    }
  }
  finish();
  return out;
}

const words = (text: string | undefined): string[] => (text ?? '').split(/\s+/).filter((word) => word !== '');

function fromFields(fields: ReadonlyMap<string, string>): AptSource | undefined {
  if (!words(fields.get('types')).includes('deb')) return undefined;
  if (/^(no|false|without|off|disable)$/i.test(fields.get('enabled') ?? '')) return undefined;
  const uris = words(fields.get('uris'));
  const suites = words(fields.get('suites'));
  if (uris.length === 0 || suites.length === 0) return undefined;
  return { uris, suites, components: words(fields.get('components')), signedBy: fields.get('signed-by')?.trim() };
}

/** The one-line format, `deb [option=value …] uri suite component …`. */
export function parseOneLine(text: string): AptSource[] {
  const out: AptSource[] = [];
  for (const line of text.split(/\r?\n/)) {
    const found = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?([^#\s]+)\s+([^#\s]+)([^#]*)/.exec(line);
    if (found === null) continue;
    const [, options = '', uri = '', suite = '', components = ''] = found;
    const signedBy = words(options)
      .map((option) => /^signed-by=(.*)$/i.exec(option)?.[1])
      .find((value) => value !== undefined);
    out.push({ uris: [uri], suites: [suite], components: words(components), signedBy });
  }
  return out;
}

/** Those of the machine. A file that cannot be read is passed over: others may name a mirror. */
export function readAptSources(folder = '/etc/apt'): AptSource[] {
  const read = (file: string): string => {
    try {
      return readFileSync(file, 'utf8');
    } catch {
      return '';
    }
  };
  let names: string[] = [];
  try {
    names = readdirSync(join(folder, 'sources.list.d')).sort();
  } catch {
    // A machine may have only the one file.
  }
  const out = parseOneLine(read(join(folder, 'sources.list')));
  for (const name of names) {
    const file = join(folder, 'sources.list.d', name);
    if (name.endsWith('.sources')) out.push(...parseDeb822(read(file)));
    else if (name.endsWith('.list')) out.push(...parseOneLine(read(file)));
  }
  return out;
}

/** Code names and aliases of Debian; others (Ubuntu's, vendors') say that a source is not of Debian. */
const RELEASES = new Set(
  'buster bullseye bookworm trixie forky duke sid oldoldstable oldstable stable testing unstable'.split(' '),
);

/**
 * The mirrors of Debian among sources. Vendors use Debian's code names as well, so what is signed by a key of theirs
 * is left out, and what is explicitly signed by Debian's comes first; apt checks signatures in any case.
 * @throws SDK_ERR_IMAGE_MIRROR when there is none
 */
export function debianMirrors(sources: readonly AptSource[]): Mirrors {
  const archive = { sure: new Set<string>(), maybe: new Set<string>() };
  const security = { sure: new Set<string>(), maybe: new Set<string>() };
  for (const { uris, suites, components, signedBy } of sources) {
    if (!components.includes('main')) continue;
    const byDebian = signedBy?.includes('debian-archive') ?? false;
    if (signedBy !== undefined && !byDebian) continue;
    for (const suite of suites) {
      const [, release = '', kind = ''] = /^([a-z]+)([-/].*)?$/.exec(suite) ?? [];
      if (!RELEASES.has(release)) continue;
      const list = kind === '-security' || kind === '/updates' ? security : archive;
      for (const uri of uris.filter(isUsable)) (byDebian ? list.sure : list.maybe).add(uri);
    }
  }
  const inOrder = ({ sure, maybe }: typeof archive): string[] => [...new Set([...sure, ...maybe])];
  if (archive.sure.size + archive.maybe.size === 0) {
    const why = sources.length === 0 ? 'apt has no sources' : 'none of the sources of apt is one of Debian, with main';
    throw errors.SDK_ERR_IMAGE_MIRROR({ details: { why } });
  }
  return { archive: inOrder(archive), security: inOrder(security) };
}

/** Not a disc in a drive, and nothing that could end the line it is written into. */
function isUsable(uri: string): boolean {
  return /^[a-z+]+:[^\s[\]]+$/.test(uri) && !uri.startsWith('cdrom:');
}
