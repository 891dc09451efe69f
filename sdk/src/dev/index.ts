// What `runtime plugin dev` is made of. Nothing else imports this: the rest of the sdk works without Vite.

export { createDevLoader, type DevLoaderOptions } from './dev-loader.ts';
