// The messages of vsh alone: a guest that starts need not read the tables of the others.

import { Protobuf } from '@runtime/sdk/protobuf';
import { vshTable } from '../wire/vsh.ts';

export const vshWire: Protobuf<typeof vshTable> = new Protobuf(vshTable);
