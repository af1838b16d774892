select
    users.id as user_id,
    users.email,
    users.plan,
    count(orders.user_id) as orders,
    coalesce(sum(orders.total), 0)::decimal(18, 2) as revenue
from {{ source('web', 'users') }} as users
left join {{ ref('orders') }} as orders on orders.user_id = users.id
group by users.id, users.email, users.plan
