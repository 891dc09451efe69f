// What works of org.chromium.VmCicerone. Work that takes long is answered when it has begun; signals tell of its end.

import type { CiceroneManager } from '../../cicerone/cicerone-manager.ts';
import type { ContainerImage, ContainerName } from '../../contract-containers.ts';
import type { EmitSignal, Handler, MethodName } from './methods.ts';
import type { UnsupportedName } from './unsupported.ts';

/** The part of the manager that is asked. */
export type CiceroneDesk = Pick<
  CiceroneManager,
  | 'startLxd'
  | 'createContainer'
  | 'containerExists'
  | 'setUpContainerUser'
  | 'startContainer'
  | 'stopContainer'
  | 'deleteContainer'
  | 'listContainers'
  | 'containerToken'
  | 'containerUser'
>;

export type CiceroneHandlers = { readonly [M in Exclude<MethodName, UnsupportedName>]: Handler<M> };

interface Address {
  readonly vm_name: string;
  readonly container_name: string;
  readonly owner_id: string;
}

const idsOf = ({ vm_name, container_name, owner_id }: Address): Address => ({ vm_name, container_name, owner_id });
const ownerOf = (owner: string): { readonly owner?: string } => (owner === '' ? {} : { owner });
const nameOf = ({ vm_name: vm, container_name: container, owner_id }: Address): ContainerName => ({
  ...{ vm, container, ...ownerOf(owner_id) },
});
const reasonOf = (e: unknown): string => (e instanceof Error ? e.message : String(e));

/** @param emit called after the answer of the method that began the work */
export function ciceroneHandlers(desk: CiceroneDesk, emit: EmitSignal): CiceroneHandlers {
  return {
    async StartLxd({ vm_name, owner_id }) {
      const ids = { vm_name, owner_id };
      goOn(desk.startLxd(vm_name, ownerOf(owner_id)), (failure_reason) =>
        emit('StartLxdProgress', { ...ids, status: failure_reason === '' ? 'STARTED' : 'FAILED', failure_reason }),
      );
      return { status: 'STARTING' };
    },
    CreateLxdContainer: (request) =>
      failing(async () => {
        const ids = idsOf(request);
        if (await desk.containerExists(nameOf(request))) return { status: 'EXISTS' };
        const onStage = (_stage: string, fraction?: number): void => {
          if (fraction === undefined) return;
          emit('LxdContainerDownloading', { ...ids, download_progress: Math.round(fraction * 100) });
        };
        goOn(desk.createContainer(nameOf(request), imageOf(request), { onStage }), (failure_reason) =>
          emit('LxdContainerCreated', { ...ids, status: failure_reason === '' ? 'CREATED' : 'FAILED', failure_reason }),
        );
        return { status: 'CREATING' };
      }),
    SetUpLxdContainerUser: (request) =>
      failing(async () => {
        const user = await desk.setUpContainerUser(nameOf(request), request.container_username);
        return { status: 'SUCCESS', container_username: user };
      }),
    StartLxdContainer: (request) =>
      failing(async () => {
        const ids = idsOf(request);
        if (await isRunning(desk, request)) return { status: 'RUNNING' };
        if (!(await desk.containerExists(nameOf(request)))) {
          return { status: 'FAILED', failure_reason: `there is no container "${request.container_name}"` };
        }
        goOn(desk.startContainer(nameOf(request)), (failure_reason) =>
          emit('LxdContainerStarting', {
            ...ids,
            status: failure_reason === '' ? 'STARTED' : 'FAILED',
            failure_reason,
          }),
        );
        return { status: 'STARTING' };
      }),
    StopLxdContainer: (request) =>
      failing(async () => {
        const ids = idsOf(request);
        if (!(await desk.containerExists(nameOf(request)))) return { status: 'DOES_NOT_EXIST' };
        if (!(await isRunning(desk, request))) return { status: 'STOPPED' };
        goOn(desk.stopContainer(nameOf(request)), (failure_reason) =>
          emit('LxdContainerStopping', {
            ...ids,
            status: failure_reason === '' ? 'STOPPED' : 'FAILED',
            failure_reason,
          }),
        );
        return { status: 'STOPPING' };
      }),
    DeleteLxdContainer: (request) =>
      failing(async () => {
        const ids = idsOf(request);
        if (!(await desk.containerExists(nameOf(request)))) return { status: 'DOES_NOT_EXIST' };
        goOn(desk.deleteContainer(nameOf(request)), (failure_reason) =>
          emit('LxdContainerDeleted', { ...ids, status: failure_reason === '' ? 'DELETED' : 'FAILED', failure_reason }),
        );
        return { status: 'DELETING' };
      }),
    GetLxdContainerUsername: (request) => failing(() => desk.containerUser(nameOf(request))),
    async GetContainerToken(request) {
      return { container_token: desk.containerToken(nameOf(request)) ?? '' };
    },
    async ListRunningContainers({ owner_id }) {
      const all = await desk.listContainers(ownerOf(owner_id));
      const running = all.filter(({ state }) => state === 'running');
      return {
        containers: running.map(({ vm, name: container, owner }) => ({
          ...{ vm_name: vm, container_name: container },
          container_token: desk.containerToken({ vm, container, owner }) ?? '',
        })),
      };
    },
    async GetDebugInformation() {
      const all = await desk.listContainers();
      const lines = all.map(({ vm, name, state, username = '-', ipv4 = '-' }) => [vm, name, state, username, ipv4]);
      return { debug_information: lines.map((words) => `${words.join(' ')}\n`).join('') };
    },
  };
}

async function isRunning(desk: CiceroneDesk, { vm_name, container_name, owner_id }: Address): Promise<boolean> {
  const all = await desk.listContainers(ownerOf(owner_id));
  return all.some(({ vm, name, state }) => vm === vm_name && name === container_name && state === 'running');
}

interface ImageFields {
  readonly image_server: string;
  readonly image_alias: string;
  readonly rootfs_path: string;
  readonly metadata_path: string;
}

function imageOf({ image_server, image_alias, rootfs_path, metadata_path }: ImageFields): ContainerImage {
  return rootfs_path === ''
    ? { server: image_server, alias: image_alias }
    : { rootfs: rootfs_path, metadata: metadata_path };
}

/** @param onEnd with the reason why it failed, or with none; never before the answer that it has begun */
function goOn(work: Promise<unknown>, onEnd: (failureReason: string) => void): void {
  work.then(
    () => setImmediate(onEnd, ''),
    (e: unknown) => setImmediate(onEnd, reasonOf(e)),
  );
}

/** As of ChromeOS: a status says that it failed, and no error of the bus does. */
async function failing<R extends object>(work: () => Promise<R>): Promise<R | Failed> {
  try {
    return await work();
  } catch (e) {
    return { status: 'FAILED', failure_reason: reasonOf(e) };
  }
}

interface Failed {
  readonly status: 'FAILED';
  readonly failure_reason: string;
}
