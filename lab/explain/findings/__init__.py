"""What is wrong with a pod that is injected, or would be: findings from its spec, its status, its
events and its logs. All of that was written by others: it is read with limits and never believed
further than a sentence.
"""
