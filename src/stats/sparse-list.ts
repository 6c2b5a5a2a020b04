/** Values at few of many places, in the order of the places: an array would be made of holes. */
export class SparseList<V> {
  #places: number[] = [];
  #values: V[] = [];

  get size(): number {
    return this.#values.length;
  }

  /** @returns undefined: there is nothing at that place */
  get(place: number): V | undefined {
    const at = this.#find(place);
    return this.#places[at] === place ? this.#values[at] : undefined;
  }

  set(place: number, value: V): void {
    const at = this.#find(place);
    if (this.#places[at] === place) this.#values[at] = value;
    else if (at === this.#places.length) {
      this.#places.push(place);
      this.#values.push(value);
    } else {
      this.#places.splice(at, 0, place);
      this.#values.splice(at, 0, value);
    }
  }

  forEach(visit: (value: V, place: number) => void): void {
    for (let at = 0; at < this.#values.length; at++) visit(this.#values[at]!, this.#places[at]!);
  }

  /** Keeps the values of which `keep` says so. */
  retain(keep: (value: V, place: number) => boolean): void {
    const places: number[] = [];
    const values: V[] = [];
    this.forEach((value, place) => {
      if (!keep(value, place)) return;
      places.push(place);
      values.push(value);
    });
    this.#places = places;
    this.#values = values;
  }

  /** Where the place is, or belongs. */
  #find(place: number): number {
    let low = 0;
    let high = this.#places.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#places[middle]! < place) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
