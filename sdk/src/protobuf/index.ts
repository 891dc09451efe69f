// Protocol buffers by tables, for wires that others speak too.

export { Protobuf } from './codec.ts';
export { protoText } from './proto-text.ts';
export type { Field, Label, Message, MessageInit, Method, ProtoTable, Scalar, Scalars } from './table.ts';
