// A name server for one VM: it asks those of this computer, /etc/resolv.conf, and follows it when that changes. dnsmasq(8).

/** What it says when it has bound its sockets. */
export const DNSMASQ_READY: RegExp = /dnsmasq.*: started/;

/** @param gateway address of the tap that it answers at, and nowhere else */
export function dnsmasqArguments(program: string, gateway: string): readonly [string, ...string[]] {
  return [
    program,
    '--keep-in-foreground',
    '--conf-file=/dev/null',
    '--log-facility=-',
    '--pid-file=',
    '--user=nobody',
    '--bind-interfaces',
    `--listen-address=${gateway}`,
    // Of what is on this computer alone, guests hear nothing.
    '--no-hosts',
  ];
}
