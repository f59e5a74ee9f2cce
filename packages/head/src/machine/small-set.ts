/**
 * A set that mostly is empty or has one member, of which there are hundreds of thousands: a table of its own would cost each of them two hundred bytes. In the
 * order of insertion, as a Set; a member may be added or deleted while it is looked through.
 */

export class SmallSet<Member extends object> {
  /** A single member, a table when there once were more, or nothing. */
  #members: Member | Set<Member> | null = null;

  get size(): number {
    const members = this.#members;
    return members === null ? 0 : members instanceof Set ? members.size : 1;
  }

  has(member: Member): boolean {
    const members = this.#members;
    return members instanceof Set ? members.has(member) : members === member;
  }

  add(member: Member): void {
    const members = this.#members;
    if (members instanceof Set) members.add(member);
    else if (members === null) this.#members = member;
    else if (members !== member) this.#members = new Set([members, member]);
  }

  /** Returns whether it was there. */
  delete(member: Member): boolean {
    const members = this.#members;
    if (members instanceof Set) return members.delete(member);
    if (members !== member) return false;
    this.#members = null;
    return true;
  }

  clear(): void {
    this.#members = null;
  }

  [Symbol.iterator](): Iterator<Member> & Iterable<Member> {
    const members = this.#members;
    return members instanceof Set ? members.values() : (members === null ? [] : [members]).values();
  }
}
