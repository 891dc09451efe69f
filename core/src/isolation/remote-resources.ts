// Leases as a plugin in its own process has them: synchronous, as everywhere.

import type {
  AnyPoolToken,
  Lease,
  LeaseInfo,
  LeaseRequest,
  LeaseState,
  PoolLeases,
  ResourceAllocator,
} from '../resources.ts';
import type { Scope } from '../scope.ts';
import type { PoolKind, PoolToken, PoolValues } from '../tokens.ts';
import type { PoolDescription } from './messages.ts';
import type { RemoteLink } from './remote-link.ts';

type Fields = Pick<Lease, 'pool' | 'key' | 'owner' | 'value'>;

class RemoteLease implements Lease {
  readonly pool: string;
  readonly key: string;
  readonly owner: string;
  readonly value: PoolValues[PoolKind];
  #state: LeaseState = 'held';
  readonly #release: () => void;

  constructor({ pool, key, owner, value }: Fields, release: () => void) {
    this.pool = pool;
    this.key = key;
    this.owner = owner;
    this.value = value;
    this.#release = release;
  }

  get state(): LeaseState {
    return this.#state;
  }

  [Symbol.dispose](): void {
    if (this.#state === 'released') return;
    this.#state = 'released';
    this.#release();
  }
}

/** What is still held when the process ends stays with the runtime, for the process that comes next. */
export function createRemoteResources(link: RemoteLink, scope: Scope): ResourceAllocator {
  const adopt = (fields: Fields): RemoteLease =>
    new RemoteLease(fields, () => {
      if (!scope.closed) link.callSync('release', fields.pool, fields.key);
    });
  return {
    lease: <K extends PoolKind>(pool: PoolToken<K>, request: LeaseRequest) =>
      adopt(link.callSync('lease', describe(pool as unknown as AnyPoolToken), request) as Fields) as Lease as Lease<
        PoolValues[K]
      >,
    leaseAll: <const P extends readonly (readonly [AnyPoolToken, LeaseRequest])[]>(requests: P) => {
      const asked = requests.map(([pool, request]): [PoolDescription, LeaseRequest] => [describe(pool), request]);
      return (link.callSync('leaseAll', asked) as Fields[]).map(adopt) as unknown as PoolLeases<P>;
    },
    inspect: () => link.callSync('leases') as readonly LeaseInfo[],
  };
}

function describe({ id, spec, version }: Pick<AnyPoolToken, 'id' | 'spec' | 'version'>): PoolDescription {
  return { id, spec, version };
}
