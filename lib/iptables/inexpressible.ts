/**
 * Something of iptables that is not expressed in this process: the program does it. It is thrown before anything is changed,
 * and caught where the way is chosen.
 */
export class Inexpressible extends Error {
  override readonly name = "Inexpressible";

  constructor(what: string) {
    super(`Cannot do it in this process: ${what} is left to iptables`);
  }
}
