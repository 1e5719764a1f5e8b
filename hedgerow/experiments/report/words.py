"""The words of a report, explained in it."""

WORDS = {
    "accuracy": "Fraction of the test samples that the global model gets right, measured on the server. The"
    " table shows the last one measured: of a finished run, that of its last round.",
    "±": "Sample standard deviation over the seeds (divided by n - 1). A seed changes all random draws:"
    " the split, the cohorts, the initial model, the batches, the rounding.",
    "95 % t interval": "Student's interval of the mean over the seeds: of normal values, 95 of 100 such"
    " intervals hold the true mean. One seed has none; two give one of nine standard deviations each way.",
    "bytes": "Measured, not computed: the size of each record as it was serialised to be sent, with names"
    " and headers. What lower network layers add is not included. 1 kB = 1000 bytes.",
    "up, down": "Up is from a client to the server, down from the server to a client.",
    "per client, round": "Mean of what one client sends, or is sent, in one round it takes part in. A"
    " client whose reply never came is not included in the mean of up.",
    "total": "Sum over all clients and rounds of a run; mean over the seeds.",
    "to a target": "Cost of all clients until the accuracy counts as reached, by the rule under the table:"
    " mean over the seeds that reached it. 1/2 means that one seed of two did; ≥ that a seed which did not"
    " counts with all it spent.",
    "Pareto front": "Grey, in the plots: nothing that was run is as accurate for less.",
    "for a budget": "The last accuracy measured before more was spent: what each way gives if the money, the"
    " battery or the data plan ends there.",
    "worst seed": "The lowest last accuracy of any seed: how bad luck can be.",
    "times less": "Cost of the way that sends float32, divided by this one's; by what reaching the target"
    " cost, if there is one and both reached it.",
    "time": "Wall time of all rounds with evaluation, mean over seeds. Runs in parallel shared the"
    " machine, so compare times only if all runs did so in the same way.",
    "bold": "Best of its column, among finished rows with the same number of rounds.",
}
