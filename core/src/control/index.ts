// The control socket: the server for programs that are a runtime, and the client for those that talk to one.

export {
  CLIENT_TIMEOUTS,
  type ClientTimeouts,
  type CommandOutput,
  type ConnectOptions,
  type ControlClient,
  type ControlStream,
  connect,
  type RequestOptions,
} from './client.ts';
export type { ControlHost } from './host.ts';
export type * from './method-types.ts';
export { type ControlServer, type ControlServerOptions, startControlServer } from './server.ts';
export { controlSocketPath, type Environment, MAX_SOCKET_PATH } from './socket-path.ts';
