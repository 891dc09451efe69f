// Names of capabilities, include/uapi/linux/capability.h, and cap_from_text(3).

export const CAPABILITIES = [
  ...['chown', 'dac_override', 'dac_read_search', 'fowner', 'fsetid', 'kill', 'setgid', 'setuid', 'setpcap'],
  ...['linux_immutable', 'net_bind_service', 'net_broadcast', 'net_admin', 'net_raw', 'ipc_lock', 'ipc_owner'],
  ...['sys_module', 'sys_rawio', 'sys_chroot', 'sys_ptrace', 'sys_pacct', 'sys_admin', 'sys_boot', 'sys_nice'],
  ...['sys_resource', 'sys_time', 'sys_tty_config', 'mknod', 'lease', 'audit_write', 'audit_control', 'setfcap'],
  ...['mac_override', 'mac_admin', 'syslog', 'wake_alarm', 'block_suspend', 'audit_read', 'perfmon', 'bpf'],
  'checkpoint_restore',
].map((name) => `cap_${name}`);

const ALL = (1n << BigInt(CAPABILITIES.length)) - 1n;

export function capabilitiesOf(mask: bigint): string[] {
  return CAPABILITIES.filter((_, bit) => ((mask >> BigInt(bit)) & 1n) !== 0n);
}

export function maskOf(names: readonly string[]): bigint {
  return names.reduce((mask, name) => mask | (1n << BigInt(CAPABILITIES.indexOf(name))), 0n);
}

/**
 * Effective ones of a text as cap_from_text(3) takes it (`cap_net_admin,cap_kill+eip`, `=`, `all=e`), or of a hexadecimal
 * mask. `undefined`: it is neither, or has bits that no capability is of.
 */
export function parseCapabilities(text: string): string[] | undefined {
  const mask = fromText(text) ?? fromHex(text);
  return mask === undefined || (mask & ~ALL) !== 0n ? undefined : capabilitiesOf(mask);
}

function fromHex(text: string): bigint | undefined {
  const digits = text.replace(/^0x/i, '');
  return /^[0-9a-f]{1,16}$/i.test(digits) ? BigInt(`0x${digits}`) : undefined;
}

function fromText(text: string): bigint | undefined {
  let mask = 0n;
  const clauses = text.trim().split(/\s+/);
  for (const clause of clauses) {
    const [, names = '', operations] = /^([a-z0-9_,]*)((?:[=+-][eip]*)+)$/i.exec(clause) ?? [];
    if (operations === undefined) return undefined;
    const named = namedBits(names);
    if (named === undefined || (named === ALL && names === '' && !operations.startsWith('='))) return undefined;
    for (const [, sign, flags = ''] of operations.matchAll(/([=+-])([eip]*)/gi)) {
      const effective = /e/i.test(flags);
      if (sign === '=') mask = effective ? mask | named : mask & ~named;
      else if (effective) mask = sign === '+' ? mask | named : mask & ~named;
    }
  }
  return mask;
}

function namedBits(names: string): bigint | undefined {
  if (names === '' || names.toLowerCase() === 'all') return ALL;
  let bits = 0n;
  for (const name of names.toLowerCase().split(',')) {
    const bit = CAPABILITIES.indexOf(name);
    if (bit < 0) return undefined;
    bits |= 1n << BigInt(bit);
  }
  return bits;
}
