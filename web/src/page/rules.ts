/** The rules that a person chooses when the phone joins: the fields of a policy, by their names in `policy.toml`. */

export interface Rules {
  readonly masked_only: boolean;
  readonly evaluate: boolean;
  readonly statistics: boolean;
  readonly most_answers: number | null;
  readonly min_clients: number;
  readonly corrupt: number;
  readonly client_noise: number;
  readonly client_epsilon: number | null;
  readonly graphs: {
    readonly hashes: readonly string[];
    readonly keys: readonly string[];
    readonly in_the_clear: boolean;
  };
}

/** As strict as a policy that says nothing. */
export const STRICT: Rules = {
  masked_only: true, evaluate: false, statistics: false, most_answers: null, min_clients: 10, corrupt: 0.2,
  client_noise: 0, client_epsilon: null, graphs: { hashes: [], keys: [], in_the_clear: false },
};

/** What somebody agrees to who trusts the server: those of a device without a policy. */
export const OPEN: Rules = {
  ...STRICT, masked_only: false, evaluate: true, statistics: true, min_clients: 3, corrupt: 0,
  graphs: { hashes: [], keys: [], in_the_clear: true },
};
