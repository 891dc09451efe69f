// vshd: shells and commands for the host, over vsock.

import type { Duplex } from 'node:stream';
import type { LaunchOptions } from './launch.ts';
import { serveVsh } from './session.ts';

export interface VshPeer {
  readonly cid: number;
  readonly port: number;
}
export type VshListen = (onConnection: (stream: Duplex, peer: VshPeer) => void) => unknown;

/** Of the host; vsock(7). */
const VMADDR_CID_HOST = 2;
/** At a time. */
const SESSIONS_MAX = 256;

/** Serves the host, and nobody else. */
export function startVshd(listen: VshListen, log: (line: string) => void, options: LaunchOptions = {}): void {
  let sessions = 0;
  listen((stream, peer) => {
    // A stream that is refused may still fail.
    stream.on('error', () => {});
    if (peer.cid !== VMADDR_CID_HOST || sessions >= SESSIONS_MAX) {
      log(`vshd: refused CID ${peer.cid}, with ${sessions} of ${SESSIONS_MAX} sessions open`);
      stream.destroy();
      return;
    }
    sessions += 1;
    void serveVsh(stream, log, options).finally(() => {
      sessions -= 1;
    });
  });
}
