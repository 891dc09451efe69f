// A script in a guest, over vsh: its text goes in as input, its lines come out, bounded whatever the guest sends.

import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { escapeText, linesOf, withoutColours } from '../concierge/log-records.ts';
import { GUEST_PORTS } from '../concierge/ports.ts';
import { openVsh } from '../vsh/client.ts';

export interface ShellRequest {
  /** Of the guest's sockets. */
  readonly directory: string;
  readonly user: string;
  /** For /bin/sh -e. */
  readonly text: string;
  /** Its $1, $2, … */
  readonly args: readonly string[];
  readonly seconds: number;
  readonly onLine?: (line: string) => void;
  readonly signal: AbortSignal;
}

export interface GuestRun {
  /** `undefined`: it did not end in time. */
  readonly code: number | undefined;
  /** What it wrote last, as it can be shown. */
  readonly tail: readonly string[];
}

/** A script that reads its input must not read its own text: it is a file by then, and the input is empty. */
const RECEIVE = `
f=$(mktemp) || exit 125
trap 'rm -f "$f"' EXIT
trap 'exit 129' HUP
trap 'exit 143' TERM
cat > "$f"
/bin/sh -e "$f" "$@" < /dev/null
`;
const TAIL_LINES = 20;
/** Letters of a line that are shown. */
const TAIL_WIDTH = 200;
/** Bytes without a line feed that are kept. */
const MAX_REST = 4096;

/** @throws CROSTINI_ERR_VSH_…, the reason of `signal` */
export async function runInShell(request: ShellRequest): Promise<GuestRun> {
  const { directory, user, text, args, seconds, onLine, signal } = request;
  const late = AbortSignal.timeout(seconds * 1_000);
  const tail: string[] = [];
  const take = (line: string): void => {
    onLine?.(line);
    tail.push(escapeText(withoutColours(line)).slice(0, TAIL_WIDTH));
    if (tail.length > TAIL_LINES) tail.shift();
  };
  try {
    using session = await openVsh({
      socketPath: join(directory, `vsock.sock.g${GUEST_PORTS.vsh}`),
      ...{ user, argv: ['/bin/sh', '-c', RECEIVE, 'sh', ...args] },
      signal: AbortSignal.any([signal, late]),
    });
    session.stdin.on('error', () => {});
    session.stdin.end(text);
    const [code] = await Promise.all([session.exit, eachLine(session.stdout, take), eachLine(session.stderr, take)]);
    return { code, tail };
  } catch (e) {
    if (late.aborted && !signal.aborted) return { code: undefined, tail };
    throw e;
  }
}

async function eachLine(stream: Readable, take: (line: string) => void): Promise<void> {
  let rest = Buffer.alloc(0);
  for await (const chunk of stream) {
    const bytes = Buffer.concat([rest, chunk as Buffer]);
    const end = bytes.length > MAX_REST ? bytes.length : bytes.lastIndexOf(0x0a) + 1;
    for (const line of linesOf(bytes.subarray(0, end))) take(line);
    rest = bytes.subarray(end);
  }
  for (const line of linesOf(rest)) take(line);
}
