// What `runtime plugin new` is made of.

export { type CreatedPlugin, type CreatePluginOptions, createPlugin } from './create-plugin.ts';
export { type PluginNames, parseNames } from './names.ts';
export { cachedPacks, type Packs, packInto } from './packs.ts';
