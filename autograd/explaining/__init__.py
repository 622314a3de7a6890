"""Why a gradient has its value, as a formula with its numbers; and which operation made the first NaN."""
