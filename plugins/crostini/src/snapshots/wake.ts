// Tells a guest that has gone on from a snapshot that it is a machine of its own now.

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { GrpcStatus } from '@runtime/sdk/errors';
import { Protobuf } from '@runtime/sdk/protobuf';
import { GUEST_PORTS } from '../concierge/ports.ts';
import { RpcClient } from '../rpc/rpc.ts';
import { templateTable } from '../wire/template.ts';

const SEED_BYTES = 64;
/** All tries together; a guest that was saved needs none of what takes a boot its time. */
const WAKE_MS = 60_000;
/** Between two tries: the guest has no socket for a moment. */
const RETRY_MS = 20;

const wire = /* @__PURE__ */ new Protobuf(templateTable);

/** @param directory of the VM, where its sockets are. @throws when it does not answer in time, or refuses */
export async function wakeGuest(directory: string, signal: AbortSignal): Promise<void> {
  const path = join(directory, `vsock.sock.g${GUEST_PORTS.maitred}`);
  let wasAsked = false;
  for (const until = Date.now() + WAKE_MS; ; await sleep(RETRY_MS, undefined, { signal })) {
    using client = new RpcClient(wire, 'runtime.Template', `unix:${path}`);
    const deadlineMs = until - Date.now();
    try {
      const now = Date.now();
      const seconds = Math.floor(now / 1_000);
      const time = { seconds: BigInt(seconds), nanos: (now - seconds * 1_000) * 1_000_000 };
      await client.call.Wake({ seed: randomBytes(SEED_BYTES), ...time }, { deadlineMs, signal });
      return;
    } catch (e) {
      const code = e instanceof Error && 'code' in e ? e.code : undefined;
      // It is awake already: its first answer was lost.
      if (code === GrpcStatus.failedPrecondition && wasAsked) return;
      if (signal.aborted || code !== GrpcStatus.unavailable || Date.now() + RETRY_MS >= until) throw e;
      wasAsked = true;
    }
  }
}
