// The code of a device as a module: found, loaded, and loaded anew when one of its files has changed.

import { pathToFileURL } from 'node:url';
import { entryUrl, importFailed, useOwnModules } from '@runtime/core/own-modules';
import { errors } from '../../errors.ts';
import { type AnyDevice, isDevice } from '../device.ts';

/** A module of this package: from here its name, and that of the core, mean the copies that run here. */
const HERE = import.meta.url;

/**
 * Every call gives the code as the files are now. @param root folder of the package: what is imported from outside of it is
 * loaded once. @throws SDK_ERR_DEVICE
 */
export async function loadDevice(root: string, file: string): Promise<AnyDevice> {
  useOwnModules({ '@runtime/core': HERE, '@runtime/sdk': HERE });
  const url = entryUrl(root, file);
  let module: { readonly default?: unknown };
  try {
    module = (await import(url)) as { readonly default?: unknown };
  } catch (e) {
    importFailed(root);
    const why = `its module does not load: ${e instanceof Error ? e.message : String(e)}`;
    throw errors.SDK_ERR_DEVICE({ details: { device: pathToFileURL(file).href, why }, cause: e });
  }
  if (isDevice(module.default)) return module.default;
  importFailed(root);
  throw errors.SDK_ERR_DEVICE({ details: { device: file, why: 'its module has no device as its default export' } });
}
