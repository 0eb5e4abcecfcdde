"""Who may: roles, rules, labels, rates, quotas and licences."""
