// A plugin made of a fake service.

import { definePlugin, type Plugin, type ServiceToken } from '@runtime/core';

/**
 * ```ts
 * await using runtime = await createTestRuntime({
 *   plugins: [hello, provide(clockService, { time: async () => 12 })],
 * });
 * ```
 * @param name of the plugin; default: `fake-` and the id of the service
 */
export function provide<T extends object>(
  token: ServiceToken<T>,
  implementation: NoInfer<T>,
  name: string = `fake-${kebab(token.id)}`,
): Plugin<Readonly<Record<never, never>>, readonly [ServiceToken<T>], undefined, undefined> {
  return definePlugin({
    name,
    version: token.version,
    provides: [token],
    setup: (ctx) => ctx.provide(token, implementation as never),
  });
}

function kebab(id: string): string {
  return id
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '');
}
