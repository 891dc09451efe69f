export class KvmProbe {
  constructor(_o: unknown) {}
  async works(_p: string): Promise<boolean> {
    return false;
  }
}
