"""What an expert would say on seeing a profile: a few sentences, each with its evidence.

A rule stays silent rather than report what noise may have caused. Where a figure decides, it must
be beyond its limit in every process, and there must be two. Operator times count only where their
accounts close, and no time counts in a profile that noise made unusable. Slow operators, which load
of others makes too, must be slower by as much again unless the profile is quiet. What is counted
and not timed (copies, threads, throttled samples) needs none of that.
"""
