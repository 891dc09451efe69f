// What somebody who looks for a fault wants to know of the containers of a VM.

import type { LxdClient } from '../lxd/client.ts';
import { listOf, objectOf, textOf } from '../lxd/json.ts';

const TEXT_MAX = 256 * 1024;

/** @throws LxdError */
export async function debugInformation(client: LxdClient): Promise<string> {
  const [server, instances, warnings] = await Promise.all([
    client.call('GET', '/1.0'),
    client.instances(),
    client.call('GET', '/1.0/warnings', { query: { recursion: 1 } }).catch(() => []),
  ]);
  const { server_version: version, kernel_version: kernel, storage } = objectOf(objectOf(server).environment);
  return [
    `LXD ${textOf(version)}, Linux ${textOf(kernel)}, storage ${textOf(storage)}`,
    ...instances.map(
      ({ name, status, config }) => `${name}: ${status}, privileged: ${config['security.privileged'] ?? 'false'}`,
    ),
    ...listOf(warnings).map(
      (each) => `warning: ${textOf(objectOf(each).type)}: ${textOf(objectOf(each).last_message)}`,
    ),
    '',
  ]
    .join('\n')
    .slice(0, TEXT_MAX);
}
