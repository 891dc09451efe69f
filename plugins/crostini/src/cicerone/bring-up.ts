// From nothing to a container that answers: its VM, LXD, its image, its user.

import { userInfo } from 'node:os';
import { basename, join } from 'node:path';
import { copyIn } from '../cli/cp.ts';
import { vmKey } from '../concierge/names.ts';
import { ensurePenguinImage } from '../container-image/penguin-image.ts';
import type { Concierge } from '../contract.ts';
import type { Container, ContainerName, ContainerWishes } from '../contract-containers.ts';
import { errors } from '../errors.ts';
import { openVsh } from '../vsh/client.ts';
import type { CiceroneManager } from './cicerone-manager.ts';

export interface BringUpParts {
  readonly concierge: Pick<Concierge, 'endpoint'>;
  readonly cicerone: CiceroneManager;
}

/** In the VM, until LXD has unpacked it. */
const IMAGES = '/mnt/stateful/images';
/** Of whoever has no name that could be a user's in a container, such as root. */
const ANYBODY = 'user';
const USER_NAME = /^[a-z_][-a-z0-9_]{0,30}$/;

/** As the user is called here. */
export function containerUser(): string {
  const { username } = userInfo();
  return username !== 'root' && USER_NAME.test(username) ? username : ANYBODY;
}

/** The VM runs already. What is there is used as it is. @throws CROSTINI_ERR_…, SDK_ERR_IMAGE_… */
export function bringUpContainer(
  parts: BringUpParts,
  name: ContainerName,
  user: string,
  wishes: ContainerWishes,
): Promise<Container> {
  return parts.cicerone.inTurn(name, () => bringUp(parts, name, user, wishes));
}

async function bringUp(
  { concierge, cicerone }: BringUpParts,
  name: ContainerName,
  user: string,
  wishes: ContainerWishes,
): Promise<Container> {
  const { vm, owner, container } = name;
  const key = vmKey(vm, owner);
  const running = (await cicerone.listContainers({ owner: key.owner })).find(
    (one) => one.vm === vm && one.name === container && one.state === 'running',
  );
  if (running !== undefined) return running;
  await cicerone.startLxd(vm, { ...wishes, ...(owner === undefined ? {} : { owner }) });
  if (!(await cicerone.containerExists(name))) {
    const { directory } = await concierge.endpoint(vm, owner === undefined ? {} : { owner });
    await createFromPenguin(cicerone, name, join(directory, 'vsock.sock.g9001'), wishes);
  }
  wishes.onStage?.(`setting up user ${user}`);
  await cicerone.setUpContainerUser(name, user);
  return await cicerone.startContainer(name, wishes);
}

async function createFromPenguin(
  cicerone: CiceroneManager,
  name: ContainerName,
  socketPath: string,
  wishes: ContainerWishes,
): Promise<void> {
  const { onStage = () => {}, signal } = wishes;
  const image = await ensurePenguinImage(({ what, done, total }) =>
    onStage(what, done === undefined || total === undefined || total === 0 ? undefined : done / total),
  );
  signal?.throwIfAborted();
  // Of its own, since several may be made at once.
  const folder = `${IMAGES}/${image.id}-${name.container}`;
  await asRoot(socketPath, ['mkdir', '-p', folder], name);
  try {
    for (const file of [image.metadata, image.rootfs]) {
      await copyIn(file, `${folder}/`, {
        ...{ socketPath, user: 'root' },
        signal: signal ?? new AbortController().signal,
        onProgress: (done, total) =>
          onStage('copying the image into the VM', total === undefined || total === 0 ? undefined : done / total),
      });
    }
    const [rootfs, metadata] = [image.rootfs, image.metadata].map((file) => `${folder}/${basename(file)}`);
    await cicerone.createContainer(name, { rootfs: rootfs ?? '', metadata: metadata ?? '' }, wishes);
  } finally {
    await asRoot(socketPath, ['rm', '-rf', folder], name).catch(() => {});
  }
}

/** @throws CROSTINI_ERR_CONTAINER */
async function asRoot(socketPath: string, argv: readonly string[], { vm, container }: ContainerName): Promise<void> {
  using session = await openVsh({ socketPath, user: 'root', argv });
  session.stdin.end();
  session.stdout.resume();
  session.stderr.resume();
  const code = await session.exit;
  if (code === 0) return;
  const details = { vm, container, verb: 'created', why: `${argv[0]} in the VM ended with ${code}` };
  throw errors.CROSTINI_ERR_CONTAINER({ details: { ...details, hint: `Is its disk full? runtime info ${vm}` } });
}
