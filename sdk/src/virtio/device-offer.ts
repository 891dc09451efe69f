// How a plugin offers kinds of devices to whatever builds VMs: a hook that names the module of the definition, and a plugin
// that does nothing else.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineHook, definePlugin, type HookToken, type Plugin } from '@runtime/core';
import type { VirtioDeviceName } from './constants.ts';
import type { AnyDevice } from './device.ts';

/** Where the code of a device is. */
export interface DeviceModule {
  /** Folder of its package, absolute: files in it are loaded anew when they changed. */
  readonly root: string;
  /** The module whose default export is the device; absolute. */
  readonly file: string;
}

/** A kind of device that a plugin knows. */
export interface DeviceOffer {
  /** What it is called in `--device <kind>`. */
  readonly kind: string;
  readonly type: VirtioDeviceName;
  readonly module: DeviceModule;
  /** Whose it is: when that plugin is reloaded, so is the code of the devices of this kind that run. */
  readonly plugin?: string;
}

/** Who knows this kind of device? The first answer counts. */
export const resolveDevice: HookToken<'bail', readonly [kind: string], DeviceOffer> = defineHook<
  readonly [kind: string],
  DeviceOffer
>()('vm/resolve-device', 'bail', ['kind']);

/** Which kinds are there? Each tap adds its own to the list. */
export const listDevices: HookToken<'waterfall', readonly [offers: readonly DeviceOffer[]], readonly DeviceOffer[]> =
  defineHook<readonly [offers: readonly DeviceOffer[]], readonly DeviceOffer[]>()('vm/list-devices', 'waterfall', [
    'offers',
  ]);

export interface OfferedDevice {
  readonly device: AnyDevice;
  /** Of the module that has the device as its default export: `new URL('./device.ts', import.meta.url)`. */
  readonly module: URL;
}

/**
 * A plugin that offers devices. Each becomes a kind of the device's own name.
 * @example export default devicePlugin({ name: 'dice', devices: [{ device, module: new URL('./device.ts', import.meta.url) }] })
 */
export function devicePlugin(options: {
  readonly name: string;
  readonly version?: string;
  readonly devices: readonly OfferedDevice[];
}): Plugin<Record<never, never>, readonly [], undefined, undefined> {
  const { name, version, devices } = options;
  return definePlugin({
    name,
    ...(version === undefined ? {} : { version }),
    setup(ctx) {
      const offers = devices.map((device) => offerOf(device, name));
      ctx.hooks.tap(resolveDevice, (kind) => offers.find((offer) => offer.kind === kind));
      ctx.hooks.tap(listDevices, (others) => [...others, ...offers]);
    },
  });
}

/** @param plugin the name of that which offers it */
export function offerOf({ device, module }: OfferedDevice, plugin: string): DeviceOffer {
  const file = compiled(fileURLToPath(module));
  return { kind: device.name, type: device.type, module: { root: packageRoot(file), file }, plugin };
}

/** In a published package the source of a `.ts` is its `.js`. */
function compiled(file: string): string {
  return existsSync(file) ? file : file.replace(/\.ts$/, '.js');
}

function packageRoot(file: string): string {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json')) || folder === dirname(folder)) return folder;
  }
}
