// One running process of a child: either started here, or found again after a restart of the runtime.

import type { Readable, Writable } from 'node:stream';
import type { ProcessIdentity } from './identity.ts';
import type { ExitStatus } from './types.ts';

export interface Incarnation {
  readonly identity: ProcessIdentity;
  /** Never rejects. */
  readonly ended: Promise<ExitStatus>;
  readonly live: boolean;
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  /** To this very process. False when it is gone. */
  signal(signal: NodeJS.Signals): boolean;
  /** To it and what it started, as far as it is in its process group. */
  signalGroup(signal: NodeJS.Signals): Promise<void>;
  /** Stops watching; for a process that is to outlive the runtime. */
  release(): void;
}

export function describeExit({ code, signal }: ExitStatus): string {
  if (signal !== null) return `signal ${signal}`;
  return code === null ? 'how is not known' : `exit code ${code}`;
}
