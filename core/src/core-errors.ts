// The error table of the core. docs/reference/errors.md is made from it, and a test holds the two together.

import { defineErrors, type ErrorTable, GrpcStatus } from './errors.ts';

const { invalidArgument, deadlineExceeded, notFound, alreadyExists, permissionDenied } = GrpcStatus;
const { resourceExhausted, failedPrecondition, outOfRange, unimplemented, unavailable, cancelled, internal } =
  GrpcStatus;

export const coreErrorTable = {
  // Scopes and states
  CORE_ERR_SCOPE_CLOSED: {
    message: '{owner} registered "{label}" after it was unloaded',
    remedy: 'Stop work when ctx.signal aborts, or wrap it in ctx.track() so that unloading waits for it.',
    grpc: failedPrecondition,
  },
  CORE_ERR_CLEANUP: {
    message: 'cleanup "{label}" of {owner} failed',
    remedy: 'See the cause; the other cleanups ran.',
    grpc: internal,
  },
  CORE_ERR_STATE: {
    message: '{what} is not possible while {who} is {state}',
    remedy: 'Wait for one of: {legal}.',
    grpc: failedPrecondition,
  },
  CORE_ERR_CLOSING: {
    message: 'the runtime is stopping; {what} was not started',
    remedy: 'Start the runtime again, then repeat the request.',
    grpc: unavailable,
    retryable: true,
  },

  // Events
  CORE_ERR_EVENT_TIMEOUT: {
    message: 'no event "{event}" within {ms} ms',
    remedy: 'Check that its sender runs (runtime inspect), or allow more time.',
    grpc: deadlineExceeded,
  },
  CORE_ERR_EVENT_LEAK: {
    message: '"{event}" has {count} listeners, {owned} of them by {owner}',
    remedy: 'Dispose what events.on() returned when it is no longer needed; registered at: {stack}',
    grpc: resourceExhausted,
  },
  CORE_ERR_EVENT_CASCADE: {
    message: 'listeners emitted {count} events in one go ({topics}); the rest was dropped',
    remedy: 'Two listeners emit the topic of each other; break the circle.',
    grpc: resourceExhausted,
  },
  CORE_ERR_EVENT_TOPICS: {
    message: 'event "{topic}" was dropped: there are already {count} topics',
    remedy: 'Put what varies into the payload, not into the name of the topic.',
    grpc: resourceExhausted,
  },

  // Hooks
  CORE_ERR_HOOK_KIND: {
    message: 'hook "{hook}" is of kind {is}, not {asked}',
    remedy: 'Import the token from the contract of the plugin that owns the hook.',
    grpc: invalidArgument,
  },
  CORE_ERR_HOOK_ORDER: {
    message: 'taps of hook "{hook}" want to run before each other: {cycle}',
    remedy: 'Remove one of the before/after constraints.',
    grpc: invalidArgument,
  },
  CORE_ERR_HOOK_NULL: {
    message: 'a tap of {plugin} answered null to bail hook "{hook}"',
    remedy: 'Answer undefined for "no opinion", or an object for an answer.',
    grpc: invalidArgument,
  },
  CORE_ERR_HOOK_SYNC: {
    message: 'a tap of {plugin} on sync hook "{hook}" returned a promise',
    remedy: 'Make the tap synchronous; its answer is used before a promise could settle.',
    grpc: invalidArgument,
  },
  CORE_ERR_HOOK_REMOTE: {
    message: '{plugin} runs in its own process and cannot tap sync hook "{hook}"',
    remedy: 'Set its isolation to in-process, or tap an asynchronous hook.',
    grpc: unimplemented,
  },
  CORE_ERR_TAP_TIMEOUT: {
    message: 'the tap of {plugin} on hook "{hook}" did not answer within {ms} ms',
    remedy: 'Look at {plugin} in runtime trace, or raise timeoutMs of the tap.',
    grpc: deadlineExceeded,
  },
  CORE_ERR_TAP_FAILED: {
    message: 'the tap of {plugin} on hook "{hook}" failed',
    remedy: 'See the cause.',
    grpc: internal,
  },

  // Services
  CORE_ERR_SERVICE_MISSING: {
    message: 'no plugin provides service "{service}"',
    remedy: 'Load a plugin that provides it, or require it with optional().',
    grpc: unavailable,
  },
  CORE_ERR_SERVICE_METHOD: {
    message: 'service "{service}" of {provider} has no method "{method}"',
    remedy: 'Compare the contract versions of the two plugins (runtime plugin info).',
    grpc: unimplemented,
  },
  CORE_ERR_SERVICE_UNDECLARED: {
    message: '{plugin} provides "{service}" but does not declare it',
    remedy: 'Add the token to "provides" of definePlugin.',
    grpc: failedPrecondition,
  },
  CORE_ERR_SERVICE_NOT_PROVIDED: {
    message: '{plugin} declares service "{service}" but its setup did not provide it',
    remedy: 'Call ctx.provide() for every token in "provides" before setup returns.',
    grpc: failedPrecondition,
  },
  CORE_ERR_SERVICE_SWAP_TIMEOUT: {
    message: 'the call {service}.{method} waited {ms} ms for {provider}, which is being reloaded',
    remedy: 'Repeat the call; if it happens again look at the reload in runtime trace.',
    grpc: unavailable,
    retryable: true,
  },
  CORE_ERR_SERVICE_GONE: {
    message: 'the call {service}.{method} found its provider {provider} {state}',
    remedy: 'Reload or enable {provider}, then repeat the call.',
    grpc: unavailable,
    retryable: true,
  },

  // Resources
  CORE_ERR_POOL_CONFLICT: {
    message: 'pool "{pool}" is already defined differently',
    remedy: 'Import the pool token from one contract instead of defining it twice.',
    grpc: failedPrecondition,
  },
  CORE_ERR_POOL_SPEC: {
    message: 'pool "{pool}" cannot be made: {why}',
    remedy: 'Correct the arguments of definePool().',
    grpc: invalidArgument,
  },
  CORE_ERR_POOL_EXHAUSTED: {
    message: 'pool "{pool}" has nothing left for {owner}/{key} ({asked}); most is held by {holders}',
    remedy: 'Release what is not needed (runtime inspect leases), or enlarge the pool.',
    grpc: resourceExhausted,
    retryable: true,
  },
  CORE_ERR_LEASE_TAKEN: {
    message: '{value} of pool "{pool}" is held by {holder}',
    remedy: 'Ask for another value, or leave the choice to the pool.',
    grpc: alreadyExists,
  },
  CORE_ERR_LEASE_RANGE: {
    message: 'pool "{pool}" cannot lease {asked}: {why}',
    remedy: 'Ask for a value within the pool.',
    grpc: outOfRange,
  },
  CORE_ERR_LEASE_DUPLICATE: {
    message: '{owner} already holds "{key}" of pool "{pool}"',
    remedy: 'Keep the first lease, or use a key of its own for each thing.',
    grpc: alreadyExists,
  },
  CORE_ERR_KEEPER_KIND: {
    message: '{plugin} keeps "{key}" as {is} and asked for it as {asked}',
    remedy: 'Use another key, or drop("{key}") first.',
    grpc: failedPrecondition,
  },

  // Plugins and their graph
  CORE_ERR_PLUGIN_INVALID: {
    message: '{what} is not a plugin: {why}',
    remedy: 'Export definePlugin({...}) as default.',
    grpc: invalidArgument,
  },
  CORE_ERR_PLUGIN_UNKNOWN: {
    message: 'there is no plugin "{plugin}"{nearest}',
    remedy: 'runtime plugin list shows what there is.',
    grpc: notFound,
  },
  CORE_ERR_PLUGIN_DUPLICATE: {
    message: 'two plugins are called "{plugin}"',
    remedy: 'Load only one of them.',
    grpc: alreadyExists,
  },
  CORE_ERR_PLUGIN_NOT_FOUND: {
    message: 'plugin "{plugin}" was not found; looked in: {places}',
    remedy: 'Install it (npm install), or name its folder: --plugins ./path',
    grpc: notFound,
    exit: 2,
  },
  CORE_ERR_PLUGIN_LOAD: {
    message: 'the code of plugin "{plugin}" could not be loaded from {entry}',
    remedy: 'See the cause; correct the code.',
    grpc: failedPrecondition,
  },
  CORE_ERR_MANIFEST: {
    message: '{file} is not a plugin manifest: {why}',
    remedy: 'See docs/reference/manifest.md.',
    grpc: invalidArgument,
  },
  CORE_ERR_MANIFEST_DRIFT: {
    message: 'the manifest of {plugin} and its code disagree: {why}',
    remedy: 'Write this into "runtime" of its package.json: {expected}',
    grpc: failedPrecondition,
  },
  CORE_ERR_GRAPH: {
    message: 'the plugins do not fit together: {count} problem(s)',
    remedy: 'Mend each problem listed.',
    grpc: failedPrecondition,
    exit: 2,
  },
  CORE_ERR_GRAPH_MISSING: {
    message: '{plugin} requires service "{service}" {range}, which no loaded plugin provides',
    remedy: 'Add a plugin that provides it to --plugins.',
    grpc: failedPrecondition,
  },
  CORE_ERR_GRAPH_VERSION: {
    message: '{plugin} requires service "{service}" {range}, but {provider} provides {version}',
    remedy: 'Update the older of the two.',
    grpc: failedPrecondition,
  },
  CORE_ERR_GRAPH_CYCLE: {
    message: 'plugins require each other in a circle: {path}',
    remedy: 'Make one of the requirements optional(), or replace it by an event or a hook.',
    grpc: failedPrecondition,
  },
  CORE_ERR_GRAPH_PROVIDERS: {
    message: 'service "{service}" is provided by {providers}',
    remedy: 'Name the winner in the configuration: services: { {service}: <plugin> }',
    grpc: failedPrecondition,
  },
  CORE_ERR_GRAPH_WINNER: {
    message: 'the configuration gives service "{service}" to {plugin}, which does not provide it',
    remedy: 'Name one of: {providers}.',
    grpc: failedPrecondition,
  },
  CORE_ERR_GRAPH_CORE: {
    message: '{plugin} was written for core {range}; this is core {version}',
    remedy: 'Update {plugin}, or the runtime.',
    grpc: failedPrecondition,
  },
  CORE_ERR_GRAPH_CORE_RANGE: {
    message: '{plugin} names the core range "{range}", which does not fix {part}',
    remedy: 'Write "{suggestion}": an unknown future core may break the plugin.',
    grpc: failedPrecondition,
  },
  CORE_ERR_CONFIG: {
    message: 'the configuration of {plugin} is not valid: {why}',
    remedy: 'Correct it; runtime config check shows file and line.',
    grpc: invalidArgument,
    exit: 2,
  },

  CORE_ERR_PLUGIN_REQUIRED: {
    message: '{plugin} cannot be removed, since {dependents} require it',
    remedy: 'Remove those first: runtime plugin disable {dependents}',
    grpc: failedPrecondition,
  },

  // Lifecycle
  CORE_ERR_PHASE_FAILED: {
    message: '{phase} of {plugin} failed',
    remedy: 'See the cause.',
    grpc: internal,
  },
  CORE_ERR_PHASE_TIMEOUT: {
    message: '{phase} of {plugin} did not finish within {ms} ms{blame}',
    remedy: 'Look at what it waits for, or raise timeouts.{option}.',
    grpc: deadlineExceeded,
  },
  CORE_ERR_DEPENDENCY_FAILED: {
    message: '{plugin} was not started, since {dependency} failed',
    remedy: 'Mend {dependency} first.',
    grpc: failedPrecondition,
  },

  // Reload
  CORE_ERR_RELOAD_NAME: {
    message: 'the new code of {plugin} calls itself {name}',
    remedy: 'Keep the name, or load it as another plugin.',
    grpc: invalidArgument,
  },
  CORE_ERR_RELOAD_STATE: {
    message: 'the state of {plugin} cannot be handed over: {why}',
    remedy: 'Keep the shape, or raise "schema" and give a migrate() that accepts the old one.',
    grpc: failedPrecondition,
  },
  CORE_ERR_RELOAD_NO_SOURCE: {
    message: '{plugin} was given as an object, so there is no code to load again',
    remedy: 'Pass the new definition: runtime.reload(name, definition).',
    grpc: failedPrecondition,
  },

  // Processes
  CORE_ERR_SPAWN: {
    message: 'process {name} could not be started: {why}',
    remedy: 'Check that {file} exists and may be executed.',
    grpc: failedPrecondition,
  },
  CORE_ERR_SPAWN_PLAN: {
    message: 'the plan of process {name} cannot be carried out: {why}',
    remedy: 'Correct the request, or load the plugin that carries out this part of it.',
    grpc: failedPrecondition,
  },
  CORE_ERR_PROCESS_LIMIT: {
    message: 'process {name} was not started: there are already {count} children',
    remedy: 'Stop what is not needed (runtime inspect processes).',
    grpc: resourceExhausted,
    retryable: true,
  },
  CORE_ERR_PROCESS_READY: {
    message: 'process {name} was not ready within {ms} ms; last output: {output}',
    remedy: 'See its log with runtime inspect processes, or raise readyMs.',
    grpc: deadlineExceeded,
  },
  CORE_ERR_PROCESS_EXITED: {
    message: 'process {name} ended ({how}) {when}; last output: {output}',
    remedy: 'See its log.',
    grpc: unavailable,
  },
  CORE_ERR_PROCESS_CRASH_LOOP: {
    message: 'process {name} ended {count} times within {ms} ms and is not started again',
    remedy: 'Mend the cause, then restart it: runtime plugin reload {plugin}',
    grpc: unavailable,
  },
  CORE_ERR_PROCESS_STUCK: {
    message: 'process {name} (pid {pid}) is still there {ms} ms after SIGKILL',
    remedy: 'It is likely blocked in the kernel (state D); see /proc/{pid}/stack.',
    grpc: internal,
  },

  // State documents and messages
  CORE_ERR_DOCUMENT: {
    message: 'state document {file} cannot be {verb}: {why}',
    remedy: 'Check owner and free space of its folder; a damaged document was moved aside to {file}.damaged.',
    grpc: internal,
  },
  CORE_ERR_WIRE: {
    message: 'a message was refused: {why}',
    remedy: 'See docs/reference/protocol.md.',
    grpc: invalidArgument,
  },
  CORE_ERR_WIRE_VALUE: {
    message: 'a value cannot cross a process border: {why}',
    remedy: 'Pass plain data: objects, arrays, strings, numbers, bigint, Uint8Array, Date, Map, Set, Error.',
    grpc: invalidArgument,
  },

  // Control socket
  CORE_ERR_RUNTIME_RUNNING: {
    message: 'a runtime already listens on {path}',
    remedy: 'Use that one, stop it (runtime stop), or give this one a name of its own.',
    grpc: alreadyExists,
    exit: 2,
  },
  CORE_ERR_CONTROL_PATH: {
    message: 'the control socket {path} cannot be used: {why}',
    remedy: '{hint}',
    grpc: failedPrecondition,
    exit: 2,
  },
  CORE_ERR_CONTROL_UNREACHABLE: {
    message: 'no runtime answers on {path}',
    remedy: 'Start one: runtime --plugins <names>',
    grpc: unavailable,
    exit: 2,
    retryable: true,
  },
  CORE_ERR_CONTROL_VERSION: {
    message: 'version {asked} of the control protocol was asked for; this runtime speaks {spoken}',
    remedy: 'Use the runtime command of the same version as the runtime that runs.',
    grpc: failedPrecondition,
  },
  CORE_ERR_CONTROL_METHOD: {
    message: 'there is no method "{method}"{nearest}',
    remedy: 'docs/reference/protocol.md lists the methods.',
    grpc: unimplemented,
  },
  CORE_ERR_CONTROL_PARAMS: {
    message: 'the parameters of {method} are not valid: {why}',
    remedy: 'docs/reference/protocol.md lists the methods and their parameters.',
    grpc: invalidArgument,
  },
  CORE_ERR_CONTROL_LIMIT: {
    message: 'a request was refused: {why}',
    remedy: 'Send fewer at a time; docs/reference/protocol.md has the limits.',
    grpc: resourceExhausted,
    retryable: true,
  },
  CORE_ERR_CONTROL_CLOSED: {
    message: 'the connection to the runtime ended before {method} did',
    remedy: 'Look whether the runtime still runs (runtime status) and what it did before repeating the request.',
    grpc: unavailable,
  },
  CORE_ERR_CONTROL_DEADLINE: {
    message: '{method} was not answered within {ms} ms',
    remedy: 'See what the runtime is busy with (runtime inspect, runtime trace), or allow more time.',
    grpc: deadlineExceeded,
  },

  // Isolation
  CORE_ERR_HOST_GONE: {
    message: 'the process of plugin {plugin} ended ({how})',
    remedy:
      'It is started again by itself unless it keeps ending; see its log, mend it, then: runtime plugin reload {plugin}',
    grpc: unavailable,
    retryable: true,
  },
  CORE_ERR_HOST_UNRESPONSIVE: {
    message: 'the process of plugin {plugin} did not answer for {ms} ms and was ended',
    remedy: 'Look for a busy loop in {plugin}.',
    grpc: unavailable,
    retryable: true,
  },
  CORE_ERR_HOST_FLOOD: {
    message: 'the process of plugin {plugin} was ended: {why}',
    remedy: 'Send less at a time, hold less memory, or raise the limits of {plugin} in the configuration.',
    grpc: resourceExhausted,
  },
  CORE_ERR_HOST_UNSUPPORTED: {
    message: '{plugin} runs in its own process, where {what} is not possible',
    remedy: '{instead}, or set its isolation to in-process.',
    grpc: unimplemented,
  },
  CORE_ERR_HOST_SOURCE: {
    message: '{plugin} was given as an object, which cannot be handed to a process of its own',
    remedy: 'Give it by path or package name, or set its isolation to in-process.',
    grpc: failedPrecondition,
    exit: 2,
  },

  // Commands
  CORE_ERR_COMMAND_UNKNOWN: {
    message: 'there is no command "{command}"{nearest}',
    remedy: 'runtime --help lists the commands of the loaded plugins.',
    grpc: notFound,
    exit: 2,
  },
  CORE_ERR_COMMAND_DUPLICATE: {
    message: '{plugin} adds command "{command}", which {holder} already has',
    remedy: 'Use a name of your own, such as "{plugin} {command}".',
    grpc: alreadyExists,
  },
  CORE_ERR_COMMAND_USAGE: {
    message: '{command}: {why}',
    remedy: 'See runtime {command} --help.',
    grpc: invalidArgument,
    exit: 2,
  },
  CORE_ERR_CANCELLED: {
    message: '{what} was cancelled',
    remedy: 'Nothing to do.',
    grpc: cancelled,
    exit: 1,
  },
  CORE_ERR_PERMISSION: {
    message: '{who} may not {what}',
    remedy: 'Use the account that runs the runtime.',
    grpc: permissionDenied,
  },
} as const satisfies ErrorTable;

export const errors = defineErrors(coreErrorTable);
