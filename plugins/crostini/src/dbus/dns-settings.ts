// Name servers of the host, resolv.conf(5), as GetDnsSettings and DnsSettingsChanged tell of them.

import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import type { Response } from './types.ts';

const DNS_MAX = 16;
/** Between two looks at the file, which is often a link to one that others replace. */
const LOOK_MS = 5_000;

export function dnsSettings(file = '/etc/resolv.conf'): Response<'DnsSettings'> {
  let text = '';
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    // A host without it resolves nothing.
  }
  const lines = text.split('\n').map((line) => line.trim().split(/\s+/));
  const nameservers = lines.filter(([key, value]) => key === 'nameserver' && value).map(([, value]) => value as string);
  // The last one counts.
  const search = lines.findLast(([key]) => key === 'search' || key === 'domain')?.slice(1) ?? [];
  return { nameservers: nameservers.slice(0, DNS_MAX), search_domains: search.slice(0, DNS_MAX) };
}

/** Tells of others than before, until it is disposed of. Keeps no process alive. */
export function watchDns(
  onChange: (settings: Response<'DnsSettings'>) => void,
  { file = '/etc/resolv.conf', lookMs = LOOK_MS } = {},
): Disposable {
  let last = dnsSettings(file);
  const look = (): void => {
    const now = dnsSettings(file);
    if (isDeepStrictEqual(now, last)) return;
    last = now;
    onChange(now);
  };
  watchFile(file, { interval: lookMs, persistent: false }, look);
  return { [Symbol.dispose]: () => unwatchFile(file, look) };
}
