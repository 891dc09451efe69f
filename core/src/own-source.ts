// V8 gathers what it knows about a function by its source text: the closures of one literal share it. A wrapper around
// many functions then looks as if it could call any of them, so that none is ever inlined. A copy of the wrapper with a
// source of its own knows the one function it calls, which halves the cost of a call on a hot path.

let copies = 0;

/**
 * @param make a function that makes the wrapper. It may use nothing but its parameters and globals, since the copy sees
 * nothing else. Its `...args` are written out as `arity` parameters, which inlines better.
 */
export function withOwnSource<F extends (...args: never[]) => unknown>(make: F, arity: number): F {
  copies += 1;
  const names = Array.from({ length: arity }, (_, i) => `a${i}`);
  const source = make.toString().replaceAll('...args', names.join(', '));
  return new Function(`return ${source}\n// ${copies}`)() as F;
}
