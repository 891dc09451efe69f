// The running runtime, for commands that ask it something.

import { isRuntimeError } from '@runtime/core';
import { type ControlClient, connect } from '@runtime/core/control';
import { instanceName } from './app.ts';
import type { CliContext } from './context.ts';

/** @throws CORE_ERR_CONTROL_UNREACHABLE and the other errors of connect() */
export async function withClient<T>(context: CliContext, use: (client: ControlClient) => Promise<T>): Promise<T> {
  await using client = await connect({ env: context.env, name: instanceName(context) });
  return await use(client);
}

/** `undefined` when none runs. */
export async function withClientIfAny<T>(
  context: CliContext,
  use: (client: ControlClient) => Promise<T>,
): Promise<T | undefined> {
  try {
    return await withClient(context, use);
  } catch (e) {
    if (isRuntimeError(e, 'CORE_ERR_CONTROL_UNREACHABLE')) return undefined;
    throw e;
  }
}
