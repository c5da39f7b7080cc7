"""What an expert would say on seeing a profile: a few sentences, each with its evidence.

A rule stays silent rather than report what noise may have caused. A figure that decides must be
beyond its limit in every process, of which there must be at least two. Operator times count only if
their accounts balance, and no time counts in a profile that noise made unusable. Other load slows
operators too, so unless the profile is quiet they must be slower still, by what that explains.
Counts (copies, threads, throttled samples) need none of that.
"""
